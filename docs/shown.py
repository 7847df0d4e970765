"""Put the table and the figure of an arena's results into the documentation: what `make shown` ends with.

    python docs/shown.py RESULTS

The accuracies of RESULTS/tables/accuracy.md go into docs/running.md, and RESULTS/plots/accuracy_time.png into
docs/images, which the README shows.
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
