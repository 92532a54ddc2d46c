"""A headless chromium, spoken to over its debugging pipe: opens pages, evaluates scripts in them, takes pictures."""

import base64
import fcntl
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time

REPLY_SECONDS = 120
FLAGS = ["--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
         "--disable-background-networking", "--no-proxy-server", "--window-size=1280,900"]


def program():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return name
    raise RuntimeError("there is no chromium: ./deploy/install_packages.sh chromium")


class Browser:
    """`with Browser() as browser:`; then browser.open(url)."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="skipserve-browser-", ignore_cleanup_errors=True)
        commands, self.commands = os.pipe()
        self.replies, replies = os.pipe()

        def wire():  # chromium reads commands from 3 and writes to 4
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, replies)]
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        flags = FLAGS + ["--user-data-dir=" + self.folder.name] + (["--no-sandbox"] if os.getuid() == 0 else [])
        self.process = subprocess.Popen([program(), *flags], pass_fds=(3, 4), preexec_fn=wire,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(replies)
        self.ids = itertools.count(1)
        self.input = b""
        self.answers = {}
        self.pages = {}
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.commands)
        os.close(self.replies)
        self.folder.cleanup()

    def open(self, url, **how):
        """A new page, once it has loaded. `width`, `dark`: how it is looked at; `guard`: as in Page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.pages[session] = page = Page(self, session, target)
        page.begin(url, **how)
        return page

    def send(self, method, session, params):
        message = {"id": next(self.ids), "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        return message["id"]

    def call(self, method, session=None, **params):
        number = self.send(method, session, params)
        end = time.monotonic() + REPLY_SECONDS
        while number not in self.answers:
            self.listen(end - time.monotonic())
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def listen(self, seconds):
        """Takes in what comes next."""
        if not select.select([self.replies], [], [], max(0, seconds))[0]:
            raise TimeoutError("chromium does not answer")
        data = os.read(self.replies, 1 << 20)
        if not data:
            raise RuntimeError("chromium has ended")
        *messages, self.input = (self.input + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].on_event(message["method"], message["params"])


class Page:
    def __init__(self, browser, session, target):
        self.browser = browser
        self.session = session
        self.target = target
        self.problems = []  # what the page's console would show: exceptions, refused content
        self.requests = []  # addresses
        self.loaded = False
        self.guard = None   # says of a request whether the server is to see it; else it is answered with 401

    def begin(self, url, width=1280, height=900, dark=False, guard=None):
        self.guard = guard
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.resize(width, height)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        if guard:
            self.call("Fetch.enable")
        self.call("Page.navigate", url=url)
        end = time.monotonic() + REPLY_SECONDS
        while not self.loaded:
            self.browser.listen(end - time.monotonic())

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
        del self.browser.pages[self.session]

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def on_event(self, method, params):
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Fetch.requestPaused":
            self.answer(params["requestId"], params["request"])

    def answer(self, number, request):
        if self.guard(request):
            self.browser.send("Fetch.continueRequest", self.session, {"requestId": number})
            return
        body = json.dumps({"error": {"message": "a key is needed"}}).encode()
        self.browser.send("Fetch.fulfillRequest", self.session,
                          {"requestId": number, "responseCode": 401, "body": base64.b64encode(body).decode(),
                           "responseHeaders": [{"name": "Content-Type", "value": "application/json"}]})

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)

    def run(self, script):
        """The value of an expression; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
                           userGesture=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", script))
        return result["result"].get("value")

    def wait(self, script, seconds=120):
        """Until the expression is true; its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page says: {self.run('document.body.innerText')[:2000]}")

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            code = {"Enter": 13, "Tab": 9, "ArrowRight": 39, "ArrowDown": 40}[key]
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def picture(self, path, whole=False):
        """A PNG of what is seen, or of the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))
