"""Finds words that the field does not use; `python .ci/words.py [PATH ...]` checks the named files, or all of git's.

Each entry is a pattern and what to write instead. Names that other programs read (tables, columns, settings, keys of
stored files) are left alone: they are listed in `CONTRACTS`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

WORDS = {
    r"alarm(?:s|ed|ing)?": "alert",
    r"fore(?:tell|tells|told|telling)": "predict",
    r"(?:teach|teaches|teaching|taught|learnt|lessons?)": "train, fit, learned",
    r"(?:tell|tells|told)": "report, say, log",
    r"judg(?:e|es|ed|ing|ement|ements|ment|ments)": "evaluate, score, validate",
    r"verdicts?": "check result, rejection",
    r"(?:deal|deals|dealt)": "assign",
    r"(?:by lot|lots)": "at random",
    r"beside": "alongside, compared with",
    r"(?:stands|standing)": "exists, is stored, current",
    r"from nothing": "from scratch",
    r"anew": "again, from scratch",
    r"placebos?": "permutation null",
    r"users? alike": "similar users",
    r"joined histor(?:y|ies)": "spliced histories",
    r"delivered (?:id|ids|file|files)": "raw id, source file",
    r"(?:heal|heals|healed|mend|mends|mended)": "fix, repair",
    r"dear(?:er|est)?": "expensive",
    r"so-manieth|every so many": "every N",
    r"what follows what": "item transitions",
    r"traits?": "features",
}
CONTRACTS = (
    r"alarm_clusters|alarms_opened|alarms_judged|alarms_confirmed|alarms_by_kind|users_judged|must_alarm"
    r"|quality_verdicts|alarms_for_marketers|\"judged\"|\"taught\""
    r"|judged_against|alerts_judged|partitions_judged|\"foretelling\"|`taught`|\"stands\"|\.tell\(\)"
    r"|a row stands for at least one event|no item stands twice in a user's list"
)
CHECKED = {".py", ".md", ".sql", ".yaml", ".yml", ".toml", ".txt"}
EXEMPT = {".ci/words.py", "CHANGELOG.md", "LICENSE", "NOTICE", "constraints.txt"}
_WORD = re.compile(
    "|".join(rf"(?P<w{number}>(?<![^\W_]){word}(?![^\W_]))" for number, word in enumerate(WORDS)), re.IGNORECASE
)
_REPLACEMENTS = tuple(WORDS.values())


def findings(path: Path) -> list[str]:
    """One line per word found: file, line, word, and what to write instead."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for match in _WORD.finditer(re.sub(CONTRACTS, "", line, flags=re.IGNORECASE)):
            instead = _REPLACEMENTS[int((match.lastgroup or "w0")[1:])]
            found.append(f"{path}:{number}: {match.group()!r}: write {instead}")
    return found


def tracked() -> list[str]:
    """Every file that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S603


def main(arguments: list[str]) -> int:
    """Print the findings; 1 where there are any."""
    names = arguments or tracked()
    paths = [Path(name) for name in names if name not in EXEMPT]
    lines = [line for path in paths if path.suffix in CHECKED and path.is_file() for line in findings(path)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
