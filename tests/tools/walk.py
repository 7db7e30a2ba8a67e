#!/usr/bin/env python3
"""Walks through the README's "Try it" as a stranger would: every command there, in its order, and nothing else.

A command is a line that begins with `$ ` in a `console` block; the lines under it are what it is said to print, up to `…`
or `...`, and have to be printed. What a person does between them is done here: a shell is typed into, the held delete is
approved in a headless browser by somebody whom the demo's issuer lets in, and ID stands for an id that was printed.

Before it goes, the stranger does at the console what it is there for besides: plays the shell, watches another one and ends
it, and says no.

With --built, `cargo run` takes the programs in target/debug as they are (`cargo test --workspace --no-run` makes them).

usage: tests/tools/walk.py [--built]
"""

import base64
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target/tools"
CONSOLE = "http://127.0.0.1:9090"
COMMANDS_MAX = 9
PATIENCE = 60
TYPED = "walked-$((40 + 2))"
SHOWN = "walked-42"


class Failed(Exception):
    pass


def commands():
    """The commands with what they are said to print."""
    text = (ROOT / "README.md").read_text()
    section = re.search(r"^## Try it\n(.*?)^## ", text, re.S | re.M)[1]
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", section, re.S | re.M):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                said = re.split(r"…|\.\.\.|\s+#", line)[0].strip()
                if said:
                    found[-1][1].append(said)
    return found


class Terminal:
    """A command that believes somebody sits before it."""

    def __init__(self, command, env):
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execvpe("bash", ["bash", "-c", command], env)
        self.text = ""

    def wait(self, pattern):
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.text):
            if time.monotonic() > deadline:
                raise Failed(f"waited for {pattern!r}, read:\n{self.text}")
            if select.select([self.end], [], [], 1)[0]:
                try:
                    self.text += os.read(self.end, 65536).decode(errors="replace")
                except OSError:  # Linux says so when the other side is gone
                    break

    def type(self, text):
        os.write(self.end, text.encode())

    def finish(self):
        self.wait(r"\Z(?!)")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Browser:
    """Chromium, driven by the script of the end-to-end tests."""

    def __init__(self, folder):
        script = ROOT / "tests/clients/console/console.mjs"
        node = [TOOLS / "node/node", script, TOOLS / "console", "/usr/bin/chromium", CONSOLE, folder]
        self.process = subprocess.Popen(node, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def do(self, what, **more):
        self.process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "the browser ended"}')
        if answer.get("error"):
            raise Failed(f"{what} {more}: {answer['error']}")
        return answer["done"]

    def close(self):
        complaints = self.do("complaints")
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        if complaints:
            raise Failed(f"the browser complains: {complaints}")

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)


def approve(browser):
    """What somebody on call does at the console."""
    browser.do("open", path="/console")
    browser.do("click", role="link", name="Log in with")
    browser.do("click", role="button", name="omar")
    browser.do("click", role="link", name="delete pods ledger")
    browser.do("see", text="customers pay here")
    browser.do("fill", label="Reason (optional)", text="the walk")
    browser.do("click", role="button", name="Approve")
    browser.do("see", text="Answered lately")
    browser.do("open", path="/console/commands?user=dana")
    browser.do("see", text="delete pods ledger")


def only_what_is_built(folder):
    """A `cargo` that builds nothing."""
    shim = folder / "cargo"
    shim.write_text(
        "#!/usr/bin/env bash\n"
        "# `cargo run [options] [--bin NAME] -- ARGUMENTS`\n"
        "program=portcullis\n"
        'while [ $# -gt 0 ] && [ "$1" != -- ]; do [ "$1" != --bin ] || program=$2; shift; done\n'
        'shift; exec "' + str(ROOT) + '/target/debug/$program" "$@"\n'
    )
    shim.chmod(0o755)


class Walk:
    def __init__(self, folder, built):
        self.folder = folder
        places = [folder, TOOLS / "kubectl-current"]
        if built:
            only_what_is_built(folder)
        path = os.pathsep.join(map(str, places)) + os.pathsep + os.environ["PATH"]
        self.env = {"PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        if not built:  # rustup and cargo keep theirs at home
            for name, default in [("CARGO_HOME", "~/.cargo"), ("RUSTUP_HOME", "~/.rustup")]:
                self.env[name] = os.environ.get(name, os.path.expanduser(default))
        self.demo = None
        self.browser = None
        self.ids = []

    def run(self, command):
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE
        )
        return done.returncode, done.stdout

    def start_demo(self, command):
        self.demo = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=ROOT, env=self.env, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        said = ""
        for line in self.demo.stdout:
            said += line
            if line == "ready\n":
                return 0, said
        raise Failed(f"the demo did not start:\n{said}")

    def stop_demo(self):
        if self.demo:
            os.killpg(self.demo.pid, signal.SIGINT)
            try:
                self.demo.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self.demo.pid, signal.SIGKILL)
                raise Failed("the demo does not stop") from None

    def shell(self, command):
        terminal = Terminal(command, self.env)
        terminal.wait(r"[#$] $")
        terminal.type(f"echo {TYPED}\r")
        terminal.wait(SHOWN)
        terminal.type("exit\r")
        return terminal.finish(), terminal.text

    def held(self, command):
        waiting = self.start(command)
        try:
            self.browser = Browser(self.folder / "browser")
            approve(self.browser)
            said, _ = waiting.communicate(timeout=PATIENCE)
        finally:
            waiting.kill()
        if "deleted" not in said:
            raise Failed(f"it was not deleted:\n{said}")
        return waiting.returncode, said

    def start(self, command):
        return subprocess.Popen(["bash", "-c", command], cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def play(self):
        """The shell of the walk, in the console's player."""
        self.browser.do("open", path="/console/sessions")
        self.browser.do("click", role="link", name="sh in")
        self.browser.do("play", text=SHOWN, start=True)

    def watch_and_end(self):
        """Another shell, while it goes on; its user reads why it ended."""
        terminal = Terminal("kubectl exec -it deploy/web -- sh", self.env)
        terminal.wait(r"[#$] $")
        self.browser.do("open", path="/console/sessions?live=true")
        place = self.browser.do("click", role="link", name="sh in")
        self.browser.do("see", text="End this session")
        log, followed = ROOT / "target/demo/data/audit.jsonl", place.removeprefix(CONSOLE) + "/live"
        deadline = time.monotonic() + PATIENCE
        while followed not in log.read_text():  # the page follows from when it has connected
            if time.monotonic() > deadline:
                raise Failed("the page of an open session does not follow it")
            select.select([], [], [], 0.1)
        terminal.type("echo live-$((40 + 3))\r")
        self.browser.do("play", text="live-43", start=False)
        self.browser.do("fill", label="Reason (its user reads it)", text="the walk is over")
        self.browser.do("click", role="button", name="End it")
        if terminal.finish() == 0 or "the walk is over" not in terminal.text:
            raise Failed(f"the user of the shell does not read why it ended:\n{terminal.text}")

    def deny(self):
        """A second delete; whoever asks reads the answer."""
        _, pod = self.run("kubectl get pod -n payments -l app=checkout -o jsonpath='{.items[0].metadata.name}'")
        waiting = self.start(f"kubectl delete pod -n payments {pod}")
        try:
            self.browser.do("open", path="/console/approvals")
            self.browser.do("click", role="link", name=f"delete pods {pod}")
            self.browser.do("fill", label="Reason for a no", text="not during the walk")
            self.browser.do("click", role="button", name="Deny")
            said, _ = waiting.communicate(timeout=PATIENCE)
        finally:
            waiting.kill()
        if waiting.returncode == 0 or "not during the walk" not in said:
            raise Failed(f"it was not denied:\n{said}")

    def masked(self, command):
        code, said = self.run(command)
        _, real = self.run(f"KUBECONFIG=target/demo/admin.kubeconfig {command.split('-o')[0]} -o json")
        for name, value in json.loads(real)["data"].items():
            shown = re.search(rf"^  {name}: (\S+)$", said, re.M)
            if value in said or not shown or not base64.b64decode(shown[1]).startswith(b"[masked:"):
                raise Failed(f"{name} is not masked:\n{said}")
        return code, said

    def step(self, command, expected):
        bare = re.split(r"\s+#", command)[0]
        exported = re.fullmatch(r"export (\w+)=(\S+)", bare)
        if exported:
            self.env[exported[1]] = exported[2]
            return
        if re.search(r"\bID\b", bare):
            if not self.ids:
                raise Failed("nothing before printed an id")
            bare = re.sub(r"\bID\b", self.ids[0], bare)
        if bare.startswith("make demo"):
            code, said = self.start_demo(bare)
        elif " exec -it " in bare:
            code, said = self.shell(bare)
        elif " delete pod " in bare:
            code, said = self.held(bare)
        elif " get secret " in bare:
            code, said = self.masked(bare)
        else:
            code, said = self.run(bare)
        self.ids = re.findall(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", said) or self.ids
        for line in expected:
            if line not in said:
                raise Failed(f"the README says that it prints {line!r}; it printed:\n{said}")
        if " replay " in bare and SHOWN not in said:
            raise Failed(f"what was typed is not on the recording:\n{said}")
        fails = any(line.startswith("Error from server") for line in expected)
        if fails != bool(code):
            raise Failed(f"it ended with {code}:\n{said}")


def main():
    walk = commands()
    if not 5 <= len(walk) <= COMMANDS_MAX:
        raise Failed(f"{len(walk)} commands; a walk has at most {COMMANDS_MAX}")
    folder = Path(tempfile.mkdtemp(prefix="portcullis-walk."))
    walker = Walk(folder, "--built" in sys.argv[1:])
    begun = time.monotonic()
    try:
        for command, expected in walk:
            print(f"{time.monotonic() - begun:5.1f} s  $ {command}", flush=True)
            walker.step(command, expected)
        for what in (walker.play, walker.watch_and_end, walker.deny):
            print(f"{time.monotonic() - begun:5.1f} s  the console: {what.__name__}", flush=True)
            what()
        walker.browser.close()
    finally:
        try:
            walker.stop_demo()
        finally:
            if walker.browser:
                walker.browser.kill()
            shutil.rmtree(folder, ignore_errors=True)
    for part in (" get secret ", " delete pod ", " exec -it ", " replay "):
        if not any(part in command for command, _ in walk):
            raise Failed(f"no command has {part.strip()!r} in it: that is not the walk any more")
    print(f"{time.monotonic() - begun:5.1f} s  {len(walk)} commands")


try:
    main()
except (Failed, subprocess.TimeoutExpired) as why:
    sys.exit(f"walk.py: {why}")
