"""Every failure of a command is one sentence on stderr and an exit code, never a traceback."""

import click
import peewee
import pytest
from click.testing import CliRunner
from peewee import OperationalError

import cli
from service import VERSION
from service.errors import BadRequest, NotFound, ServiceError, Unavailable


@pytest.fixture
def failing(monkeypatch):
    """Run a command that raises the error given."""

    def run(error: BaseException, **environ: str):
        def fail() -> None:
            raise error

        monkeypatch.setitem(cli.main.commands, "fail", click.Command("fail", callback=fail))
        return CliRunner().invoke(cli.main, ["fail"], env=environ)

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [(ServiceError("Sad."), 1), (BadRequest("Sad."), 2), (NotFound("Sad."), 2), (Unavailable("Sad."), 3)],
)
def test_our_own_errors_say_their_sentence(failing, error, code):
    result = failing(error)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "Sad.\n")


def test_an_unreachable_database_says_what_to_check(failing):
    result = failing(peewee.OperationalError(2003, "Can't connect to MySQL server on 'nowhere'"))
    assert result.exit_code == 3
    assert result.stderr.startswith("The database cannot be reached (Can't connect")


def test_an_unforeseen_error_says_where_to_look(failing):
    result = failing(KeyError("tier"))
    assert (result.exit_code, result.stderr) == (1, "Unexpected KeyError: 'tier'. LOG_LEVEL=DEBUG shows where.\n")


def test_debug_shows_where(failing):
    result = failing(KeyError("tier"), LOG_LEVEL="DEBUG")
    assert "Traceback" in result.stderr and "raise error" in result.stderr


def test_an_interrupted_command_exits_130(failing):
    result = failing(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_interrupting_a_statement_is_no_lost_database(failing):
    lost = OperationalError(0, "")
    lost.__context__ = KeyboardInterrupt()
    assert failing(lost).exit_code == 130


def test_a_closed_pipe_is_no_error_to_talk_about(failing):
    result = failing(BrokenPipeError(32, "Broken pipe"))
    assert result.output == ""


@pytest.mark.parametrize("arguments", [["nonsense"], ["check", "--nonsense"], ["migrate", "down", "too", "many"]])
def test_wrong_usage_exits_2(arguments):
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("environ", [{"SNAPSHOT_INTERVAL_MINUTES": "7"}, {"REPLAY_NOW": "yesterday"}, {"PORT": "http"}])
def test_a_bad_setting_is_named(environ):
    result = CliRunner().invoke(cli.main, ["check"], env=environ)
    assert result.exit_code == 2
    assert result.stderr.startswith(next(iter(environ)))
    assert result.stderr.count("\n") == 1


def test_version():
    assert CliRunner().invoke(cli.main, ["--version"]).stdout == f"cli, version {VERSION}\n"


def commands(group: click.Group, path: tuple[str, ...] = ()):
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(path, command, id=" ".join(path)) for path, command in commands(cli.main)]
)
def test_every_command_and_option_says_what_it_does(path, command, monkeypatch):
    # Click keeps the option of the first call: other tests call commands without the group, which has no -h then.
    for one in (command, *(found for above, found in commands(cli.main) if above == path[:-1])):
        monkeypatch.setattr(one, "_help_option", None)
    assert command.help
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []
    result = CliRunner().invoke(cli.main, [*path, "-h"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
