// Show one view of a table at a time, with buttons to switch. Without scripts, all views are shown.
for (const views of document.querySelectorAll(".views")) {
  const sections = [...views.querySelectorAll(".view")];
  if (sections.length < 2) continue;
  const bar = Object.assign(document.createElement("div"), { className: "switch" });
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Views");
  const buttons = sections.map((section) => {
    const text = section.querySelector("h3").textContent;
    return Object.assign(document.createElement("button"), { type: "button", textContent: text });
  });
  const show = (selected) => sections.forEach((section, i) => {
    section.classList.toggle("hidden", i !== selected);
    buttons[i].setAttribute("aria-pressed", i === selected);
  });
  buttons.forEach((button, i) => button.addEventListener("click", () => show(i)));
  bar.append(...buttons);
  views.prepend(bar);
  views.classList.add("switched");
  show(0);
}
