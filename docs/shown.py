"""Copy the table and the figure of an arena's results into the documentation; the last step of `make shown`.

    python docs/shown.py RESULTS

RESULTS/tables/accuracy.md is inserted into docs/running.md. RESULTS/plots/accuracy_time.png is copied to docs/images,
where the README shows it.
"""

import shutil
import sys
from pathlib import Path

BEGIN, END = "<!-- mini results -->\n", "<!-- /mini results -->\n"
ROOT = Path(__file__).parents[1]


def show(results: Path, root: Path = ROOT) -> None:
    """Write the table between the marks in docs/running.md, and copy the figure."""
    page = root / "docs/running.md"
    text = page.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    table = (results / "tables/accuracy.md").read_text().strip()
    page.write_text(f"{before}{BEGIN}{table}\n{END}{after}")
    shutil.copy(results / "plots/accuracy_time.png", root / "docs/images/accuracy_time.png")


if __name__ == "__main__":
    show(Path(sys.argv[1]))
