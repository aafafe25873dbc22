"""Debian's Chromium through chromedriver: WebDriver's HTTP calls by the standard library, as far as the playground's test needs them."""
import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"enter": "\ue007", "tab": "\ue004", "escape": "\ue00c", "shift": "\ue008", "control": "\ue009", "right": "\ue014", "null": "\ue000"}


def missing():
    """The programs that are not there; empty: the tests can run."""
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class Browser:
    def __init__(self, width=1280, height=860):
        self.folder = tempfile.mkdtemp(prefix="sluice-browser-")
        self.driver = subprocess.Popen(["chromedriver", "--port=0", "--allowed-ips=127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                       env={**os.environ, "HOME": self.folder, "TMPDIR": self.folder})
        port = None
        while port is None:
            line = self.driver.stdout.readline()
            if not line:
                raise RuntimeError("chromedriver did not start")
            found = re.search(r"successfully on port (\d+)", line)
            port = found and int(found.group(1))
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", f"--window-size={width},{height}",
                     f"--user-data-dir={self.folder}/profile", "--no-first-run", "--disable-background-networking", "--disable-component-update",
                     "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
        options = {"args": arguments, "binary": shutil.which("chromium")}
        value = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options,
                                                                                "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.session = "/session/" + value["sessionId"]

    def call(self, method, path, body=None):
        self.connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        value = json.loads(self.connection.getresponse().read())["value"]
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{path}: {value['error']}: {value['message'].splitlines()[0]}")
        return value

    def get(self, path):
        return self.call("GET", self.session + path)

    def post(self, path, **body):
        return self.call("POST", self.session + path, body)

    def open(self, url):
        self.post("/url", url=url)

    def js(self, script, *arguments):
        """The value of a function body; a promise is waited for."""
        return self.post("/execute/sync", script=script, args=list(arguments))

    def find(self, selector):
        return self.post("/element", using="css selector", value=selector)[ELEMENT]

    def all(self, selector):
        return [found[ELEMENT] for found in self.post("/elements", using="css selector", value=selector)]

    def click(self, selector):
        self.post(f"/element/{self.find(selector)}/click")

    def press(self, text):
        """Keys as a person presses them: into whatever has the focus."""
        steps = []
        for key in text:
            steps += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.post("/actions", actions=[{"type": "key", "id": "keys", "actions": steps}])

    def chord(self, held, key):
        self.post("/actions", actions=[{"type": "key", "id": "keys", "actions": [
            {"type": "keyDown", "value": held}, {"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}, {"type": "keyUp", "value": held}]}])

    def type(self, selector, text):
        element = self.find(selector)
        self.post(f"/element/{element}/clear")
        self.post(f"/element/{element}/value", text=text)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.innerText ?? null", selector)

    def label(self, element):
        """The accessible name, as the browser computes it."""
        return self.get(f"/element/{element}/computedlabel")

    def log(self):
        """What the console got since the last call."""
        return self.post("/se/log", type="browser")

    def devtools(self, command, **parameters):
        return self.post("/goog/cdp/execute", cmd=command, params=parameters)

    def scheme(self, name):
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def size(self, width, height, scale=1, phone=False):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone)

    def screenshot(self, path):
        with open(path, "wb") as out:
            out.write(base64.b64decode(self.get("/screenshot")))

    def until(self, script, *arguments, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.js(script, *arguments):
                return True
            time.sleep(0.03)
        return False

    def close(self):
        try:
            self.call("DELETE", self.session)
        finally:
            self.connection.close()
            self.driver.terminate()
            self.driver.wait()
            self.driver.stdout.close()
            shutil.rmtree(self.folder, ignore_errors=True)
