"""How `make docs` turns the Markdown files, as they are read in the repository, into the pages of site/."""

import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

project = "lra"
html_title = "lra"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]

root_doc = "README"
include_patterns = ["*.md", "docs/*.md"]
exclude_patterns = [".*", "benchmarks", "data", "demo", "logs", "results", "shown", "site", "src", "tests"]
html_copy_source = False
highlight_language = "text"

CONTENTS = """
```{toctree}
:hidden:
:glob:
:caption: Use
docs/running
docs/configuration
docs/commands
docs/data
docs/attentions
docs/results
docs/reference
docs/your-own-*
docs/protocols
docs/scaling
docs/api
```

```{toctree}
:hidden:
:caption: Understand
docs/design
docs/fidelity
```

```{toctree}
:hidden:
:caption: Take part
CONTRIBUTING
CHANGELOG
```
"""

myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
# Drawn while building, so that a page needs no network.
mermaid_output_format = "svg"
mermaid_cmd = str(Path(sys.executable).with_name("mermaidx"))
mermaid_params = ["--config", str(ROOT / "docs" / "mermaid.json")]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"


def add_contents(app: Sphinx, page: str, text: list[str]) -> None:
    """Give the README, where the site begins, the table of contents that it has no use for in the repository."""
    if page == root_doc:
        text[0] += CONTENTS


def add_index(app: Sphinx, error: Exception | None) -> None:
    """The README is also what a reader finds under the folder's own address."""
    if error is None:
        shutil.copyfile(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", add_index)
    return {"parallel_read_safe": True}
