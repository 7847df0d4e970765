// A click on a heading sorts the table by its column, a second click reverses the order. Words come after numbers,
// empty cells last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        if (isNaN(a) !== isNaN(b)) return isNaN(a) - isNaN(b);
        const order = isNaN(a) ? a.localeCompare(b) : a - b;
        return down ? -order : order;
      };
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    });
  });
}
