"""The command line. `main` is the console script `cli`, and the one place where its errors are caught."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import click
from peewee import PeeweeException

from cli.adoption import adopt
from cli.catalog import catalog as catalog_group  # the modules keep their names: see `serve`
from cli.collect import collect as collect_command
from cli.data import demo, import_recording
from cli.database import check, migrate
from cli.jobs import aggregate
from cli.metrics import list_jobs, metrics, recompute
from cli.output import emit, log_to_stderr, open_for, progress, say
from cli.perf import perf
from cli.retention import prune
from cli.schedules import schedules as schedules_command
from cli.serve import serve as serve_command  # `cli.serve` stays the module, which `demo` uses
from cli.tiers import tiers as tiers_command
from cli.weather import weather as weather_command
from cli.worker import worker
from service import VERSION, clock, config, database
from service.errors import ServiceError

__all__ = ["emit", "main", "open_for", "progress", "say"]

log = logging.getLogger("cli")


class _Edge(click.Group):
    """Turns every failure into one sentence on stderr and an exit code; LOG_LEVEL=DEBUG logs the traceback too."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the database is closed afterwards, whatever happened."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own: usage errors exit 2, a closed pipe ends quietly
        except KeyboardInterrupt:
            _fail(ctx, "Interrupted.", 130)
        except ServiceError as error:
            _fail(ctx, str(error), error.exit_code)
        except PeeweeException as error:
            if any(isinstance(link, KeyboardInterrupt) for link in database.chain(error)):
                _fail(ctx, "Interrupted.", 130)  # while a statement ran: the driver then lost its connection
            explained = database.explained(error)
            _fail(ctx, str(explained), explained.exit_code)
        except Exception as error:
            _fail(ctx, f"Unexpected {type(error).__name__}: {error}. LOG_LEVEL=DEBUG shows where.", 1)
        finally:
            database.close()


def _fail(ctx: click.Context, sentence: str, code: int) -> NoReturn:
    log.debug("the command failed", exc_info=True)
    say(sentence)
    ctx.exit(code)


@click.group(cls=_Edge, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="cli")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Theme Park Hall of Shame: what every ride did, and which parks and rides break down most.

    Settings come from the environment; DATABASE_URL says which database (sqlite:///var/hall_of_shame.db).
    `cli check` shows them all.

    Exit codes: 0 done, 1 partly failed, 2 bad input, 3 the database cannot be used as it is.
    """
    settings = config.load()
    ctx.with_resource(database.asking(f"cli {ctx.invoked_subcommand}"))
    log_to_stderr(settings.log_level)
    clock.replay(settings.replay_now, tick=settings.replay_tick)
    ctx.obj = settings


COMMANDS = (
    migrate, check, import_recording, demo, aggregate, recompute, prune, metrics, list_jobs, worker, serve_command,
    adopt, perf, collect_command, catalog_group, schedules_command, weather_command,
)
catalog_group.add_command(tiers_command)
for command in COMMANDS:
    main.add_command(command)
