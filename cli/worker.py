"""`worker`: everything that has to be done again and again, in one process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

import click

from cli.output import open_for, say
from service.config import Settings
from service.errors import BadRequest
from service.jobs.alerts import Alerts
from service.jobs.asking import LIVE_PATIENCE_SECONDS, asking
from service.jobs.worker import Stopped, Worker, tasks

GRACE_SECONDS = 8.0  # for the step under way; platforms kill ten seconds after SIGTERM
PARTLY_FAILED = 1


@click.command()
@click.option("--once", is_flag=True, help="Do what is due now, and end: for a scheduler such as cron.")
@click.pass_context
def worker(context: click.Context, once: bool) -> None:
    """Do all jobs, for as long as it runs: collect, aggregate, promote, yearly, prune, schedules, weather,
    catalog.

    One worker works, under a lease; others stand by and take over when it ends. Readings are collected each interval;
    days that are missing or no longer right are computed, newest first, and their years after them; days past
    RAW_RETENTION_DAYS are removed once a day. What fails is tried again, after ever longer waits, is in the job log
    (`cli jobs`) and in /api/health, and is told to ALERT_WEBHOOK_URL.

    SIGTERM and Ctrl-C end it after the step under way, or in the middle of one that takes longer than 8 seconds.
    """
    settings: Settings = context.obj
    if settings.replay_now and not settings.replay_tick and not once:
        raise BadRequest("REPLAY_NOW stands still, and nothing would ever be due again: set REPLAY_TICK=1, or neither.")
    open_for(settings, time_limit=False)
    with asking(settings, patience_seconds=LIVE_PATIENCE_SECONDS) as ask:
        working = Worker(tasks(settings, ask), Alerts(settings.alert_webhook_url))
        stop_on_signals(working.stop)
        if once:
            _once(context, working)
            return
        say("The worker runs. Ctrl-C ends it.")
        working.run()
        say("The worker has ended.")


def _once(context: click.Context, working: Worker) -> None:
    if not working.lease.take():
        say("Another worker runs, and does this.")
        return
    working.makes_way = False  # for nobody comes back to what makes way
    try:
        if not working.once():
            context.exit(PARTLY_FAILED)
    except Stopped:
        say("Stopped in the middle of a step: it is undone.")
        context.exit(PARTLY_FAILED)
    finally:
        working.lease.release()


def stop_on_signals(say_so: Callable[[], object]) -> None:
    """Call `say_so` on SIGTERM and Ctrl-C. GRACE_SECONDS later, or told twice, raise Stopped into what is under way."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        say_so()
        signal.signal(signal.SIGALRM, abandon)
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, abandon)  # told twice

    def abandon(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
