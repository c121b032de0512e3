"""The README's commands are those that continuous integration runs, and its paths and pictures exist."""

import re

from llamanas.settings import ROOT

README = (ROOT / "README.md").read_text()


def test_ci_runs_the_two_commands_of_the_readme():
    commands = [block.strip() for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)][:2]
    assert commands[0].endswith("snakemake") and commands[1].endswith("pytest")
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert set(commands) <= set(script)


def test_linked_files_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if "://" not in link]
    assert local and all((ROOT / link).exists() for link in local), local
