"""The README's commands are those that continuous integration runs, and its paths and pictures exist."""

import re

import pytest

from llamanas.settings import ROOT

README = (ROOT / "README.md").read_text()


def test_ci_runs_the_two_commands_of_the_readme():
    commands = [block.strip() for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)][:2]
    assert commands[0].endswith("snakemake") and commands[1].endswith("pytest")
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert set(commands) <= set(script)


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "config/README.md", "workflow/documentation.md", "docs/performance.md"]
)
def test_linked_files_exist(page):
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    local = [link for link in links if "://" not in link]
    assert not [link for link in local if not (path.parent / link).exists()]


def test_a_documented_configfile_swallows_no_target():
    """Snakemake takes all that follows `--configfile` for such files, up to the next option."""
    pages = [ROOT / "README.md", *ROOT.glob("c*/*.md"), *ROOT.glob("workflow/*.md"), *ROOT.glob("docs/**/*.md")]
    commands = [line for page in pages for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
                for line in block.splitlines() if "snakemake" in line]  # fmt: skip
    given = [files.split() for line in commands for files in re.findall(r"--configfile((?: +[^-#\s]\S*)+)", line)]
    assert len(given) > 9 and [names for names in given if not all(name.endswith(".yaml") for name in names)] == []
