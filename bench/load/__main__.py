"""Benchmarks one after the other over one database: all load tests, or the ones that are named.

    python bench/load [--url mysql://user:password@host/database] [bench/answers.py ...]

Without --url a MariaDB of its own is filled once for all of them (about ten minutes on two cores).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.load.serving import end_orderly  # noqa: E402
from bench.production import opened  # noqa: E402

LOAD = [f"bench/load/{name}.py" for name in ("users", "burst", "held", "mixed", "fresh", "front", "away", "memory")]
WITH_THEIR_OWN = ("bench/load/away.py",)  # databases, because they kill them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a database filled by bench/production.py")
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help="each of which takes --url, or is away.py")
    given = parser.parse_args()
    unknown = [script for script in given.scripts if not (ROOT / script).is_file()]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}")
    end_orderly()
    with opened(given.url) as settings:
        failed = [script for script in given.scripts or LOAD if _run(script, settings.database_url)]
    if failed:
        raise SystemExit(f"failed, or missed a bar: {', '.join(failed)}")


def _run(script: str, url: str) -> int:
    """The exit code of a script. When this program is ended, the script ends first what it started."""
    print(f"\n=== {script}", flush=True)
    given = () if script in WITH_THEIR_OWN else ("--url", url)
    process = subprocess.Popen([sys.executable, script, *given], cwd=ROOT)
    try:
        return process.wait()
    except KeyboardInterrupt:  # which the terminal sent to the script too
        process.wait()
        raise
    except BaseException:
        process.terminate()
        process.wait()
        raise


if __name__ == "__main__":
    main()
