"""_postgres: a PostgreSQL of a recipe's own: its data folder is made once, and copied for each run.

The server refuses to be root. Root therefore runs it as the user that Debian's package makes, by setpriv, which keeps
LD_PRELOAD (it is no setuid program). For anybody else it runs as the caller.
"""

import glob
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

NEEDS = {"/usr/lib/postgresql/*/bin/postgres": "postgresql", "/usr/lib/postgresql/*/bin/pgbench": "postgresql",
         "/usr/lib/postgresql/*/bin/pg_isready": "postgresql-client", "setpriv": "util-linux"}
USER = "postgres"
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
# Nothing happens by itself, nothing waits for a disk, nothing lies outside the data folder, plans are always the same.
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "synchronous_commit": "off",
            "autovacuum": "off", "shared_buffers": "48MB", "max_connections": "20", "wal_level": "minimal",
            "max_wal_senders": "0", "max_parallel_workers_per_gather": "0", "jit": "off", "log_min_messages": "error",
            "dynamic_shared_memory_type": "mmap", "timezone": "UTC", "log_timezone": "UTC", "work_mem": "16MB"}
TO = ["-h", "127.0.0.1", "-p", "{port}", "-U", USER]


def tool(name):
    """Its path in the newest version that is installed; Debian keeps these out of PATH."""
    found = glob.glob(f"/usr/lib/postgresql/*/bin/{name}")
    return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path)], default=name)


def server():
    return AS_USER + [tool("postgres"), "-D", "{work}/data", "-p", "{port}"]


class Cluster:
    """A data folder in which these statements (one a line) were done. make() and prepare() are a recipe's inputs and
    prepare."""

    def __init__(self, sql):
        self.sql, self.data = sql, None

    def make(self, folder):
        """As folder/data. It is made where another user can look, since `folder` may lie where only its owner can."""
        with tempfile.TemporaryDirectory(prefix="sluice-postgres-") as place:
            os.chmod(place, 0o755)
            data = Path(place, "data")
            data.mkdir(mode=0o700)
            if AS_USER:
                shutil.chown(data, USER, USER)
            self.fill(data)
            self.data = folder / "data"
            copy(data, self.data)

    def fill(self, data):
        run(tool("initdb"), "-D", str(data), "-A", "trust", "-U", USER, "--no-sync", "--no-instructions", "-E", "UTF8",
            "--locale=C", "--wal-segsize=4")
        with open(data / "postgresql.conf", "a", encoding="ascii") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
        said = run(tool("postgres"), "--single", "-D", str(data), "postgres", text="\n".join(self.sql) + "\n")
        if re.search(r"\b(ERROR|FATAL|PANIC):", said):
            raise RuntimeError("postgres --single: " + said[-2000:])

    def prepare(self, work, _port):
        copy(self.data, work / "data")


def run(*argv, text=""):
    """The tool's standard output and error; RuntimeError with them when it fails."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}
    done = subprocess.run([*AS_USER, *argv], input=text, env=clean, cwd="/", text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{os.path.basename(argv[0])} failed with status {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def copy(data, to):
    """With owners and modes, on which the server insists."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(data), str(to)], check=True)
