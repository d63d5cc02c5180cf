"""`catalog tiers`: how much a ride weighs, by a file made by hand, or by a guess at its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from cli.output import emit, open_for
from service import clock
from service.config import Settings
from service.jobs.tiers import Change, FileReport, Guessed, GuessReport, apply_guesses, classify, export

FIRST_REASONS = 10
GUESS_COLUMNS = ("park", "ride", "guess", "confidence", "applied", "words")


@click.command()
@click.argument("file", metavar="[FILE.csv]", required=False, type=click.Path(path_type=Path))
@click.option("--guess", is_flag=True, help="Guess the tier of attractions that have none, by words of their names.")
@click.option("--export", "export_to", metavar="FILE.csv", type=click.Path(path_type=Path),
              help="Write all rides, their tiers and the guesses to a new file, to be edited and read again.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, with every refused line.")
@click.pass_obj
def tiers(
    settings: Settings, file: Path | None, guess: bool, export_to: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Classify rides: tier 1 weighs 3, tier 2 weighs 2, tier 3 weighs 1; without a tier a ride weighs 2.

    FILE.csv, or .csv.gz, has a header and a line for each ride. Its columns: tier (1, 2, 3, or empty for none),
    category (empty: as it is), or both; and the ride by ride_id, themeparks_wiki_id or queue_times_id, or by park and
    ride, its names in any case. Other columns are ignored. Lines that cannot be used are left out and listed.

    --guess never changes a tier. What it is not sure of, below 0.50, is shown for review and not applied. With a FILE
    too, that is read first; --export comes last.
    """
    if file is None and not guess and export_to is None:
        raise click.UsageError("Nothing to do: give a FILE.csv to read, --guess, or --export FILE.csv.")
    if dry_run and export_to is not None:
        raise click.UsageError("--dry-run writes nothing, and --export writes a file: give one of them.")
    open_for(settings, read_only=dry_run or not (file or guess), time_limit=False)
    now = clock.now()
    read = classify(file, now, dry_run=dry_run) if file else None
    guessed = apply_guesses(now, dry_run=dry_run) if guess else None
    exported = export(export_to) if export_to else None
    emit(as_json, _result(read, guessed, exported, dry_run), _lines(read, guessed, exported, export_to, dry_run))


def _result(
    read: FileReport | None, guessed: GuessReport | None, exported: int | None, dry_run: bool
) -> dict[str, object]:
    found: dict[str, object] = {}
    if read:
        found |= {
            "lines": read.lines,
            "changed": len(read.changes),
            "changes": [_as_json(change) for change in read.changes],
            "refused": [refusal._asdict() for refusal in read.refused],
        }
    if guessed:
        found |= {
            "guesses": [_guess_as_json(one) for one in guessed.guesses],
            "applied": sum(one.is_applied for one in guessed.guesses),
            "for_review": len(_for_review(guessed)),
            "without_guess": guessed.without,
        }
    if exported is not None:
        found["exported"] = exported
    return {**found, "dry_run": dry_run}


def _as_json(change: Change) -> dict[str, object]:
    return change._asdict() | {"category": change.category.name, "category_before": change.category_before.name}


def _guess_as_json(one: Guessed) -> dict[str, object]:
    ride = {"ride_id": one.ride_id, "park": one.park, "ride": one.ride}
    return {**ride, **one.guess._asdict(), "applied": one.is_applied}


def _for_review(guessed: GuessReport) -> list[Guessed]:
    return [one for one in guessed.guesses if not one.guess.is_sure]


def _lines(
    read: FileReport | None, guessed: GuessReport | None, exported: int | None, export_to: Path | None, dry_run: bool
) -> Iterator[str]:
    if read:
        yield from _read_lines(read, dry_run)
    if guessed:
        yield from _guess_lines(guessed, dry_run)
    if exported is not None:
        yield f"{exported:,} rides written to {export_to}."
        yield f"Next: fill in its tiers, then `cli catalog tiers {export_to}`."
    if dry_run:
        yield "Nothing was written."


def _read_lines(read: FileReport, dry_run: bool) -> Iterator[str]:
    if dry_run and read.changes:
        yield from _aligned(("park", "ride", "change"), [(it.park, it.ride, _shown(it)) for it in read.changes])
    verb = "would change" if dry_run else "changed"
    yield f"{read.lines:,} lines used: {len(read.changes):,} rides {verb}, {read.lines - len(read.changes):,} stay."
    if read.refused:
        yield f"Lines refused: {len(read.refused):,}."
        yield from (f"  {file}, line {line}: {reason}" for file, line, reason in read.refused[:FIRST_REASONS])
        if len(read.refused) > FIRST_REASONS:
            yield "  ... and more: --json lists them all."


def _shown(change: Change) -> str:
    tier = f"tier {change.tier_before or 'none'} -> {change.tier or 'none'}"
    category = f"{change.category_before.name} -> {change.category.name}"
    parts = [tier] * (change.tier != change.tier_before) + [category] * (change.category != change.category_before)
    return ", ".join(parts)


def _guess_lines(guessed: GuessReport, dry_run: bool) -> Iterator[str]:
    if guessed.guesses:
        yield from _aligned(GUESS_COLUMNS, [_guess_line(one) for one in guessed.guesses])
    review = len(_for_review(guessed))
    verb = "would be applied" if dry_run else "applied"
    yield (
        f"{len(guessed.guesses) - review:,} guesses {verb}; {review:,} for review; {guessed.without:,} attractions"
        " without a tier have names that say nothing."
    )
    if not dry_run and review + guessed.without:
        yield "Next: `cli catalog tiers --export FILE.csv` writes a file to fill in the rest by hand."


def _guess_line(one: Guessed) -> Sequence[str]:
    tier, confidence, words = one.guess
    return one.park, one.ride, str(tier), f"{confidence:.2f}", _applied(one), ", ".join(words)


def _applied(one: Guessed) -> str:
    return "yes" if one.is_applied else "no" if one.guess.is_sure else "review"


def _aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table for people; the last column is not padded."""
    widths = [max(len(line[index]) for line in (header, *lines)) for index in range(len(header))]
    for line in (header, *lines):
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
