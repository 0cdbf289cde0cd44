"""A real browser for tests: Debian's Chromium without a window, driven by its own chromedriver."""
import json
import os

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from conftest import ROOT, SLOW, wait_for

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
PICTURES = os.environ.get("MSGL_SCREENSHOTS") == "1"  # the pictures in docs/ are to be taken anew


class Browser:
    def __init__(self, width=1180, height=800, dark=False):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio",
                     "--no-first-run", "--disable-background-networking", "--disable-component-update",
                     "--force-color-profile=srgb", "--hide-scrollbars", "--force-prefers-reduced-motion"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.driver.set_script_timeout(60 * SLOW)
        self.driver.set_page_load_timeout(60 * SLOW)
        self.size(width, height)
        self.colours(dark)
        self.problems = []

    def cdp(self, method, **params):
        return self.driver.execute_cdp_cmd(method, params)

    def size(self, width, height):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def colours(self, dark):
        self.cdp("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, url):
        self.driver.get(url)

    def js(self, text, *args):
        """The value of the script's `return`."""
        return self.driver.execute_script(text, *args)

    def find(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css):
        return self.js("return document.querySelector(arguments[0])?.textContent ?? ''", css)

    def count(self, css):
        return self.js("return document.querySelectorAll(arguments[0]).length", css)

    def wait(self, css, seconds=30):
        return wait_for(lambda: self.all(css), seconds)[0]

    def wait_text(self, css, word, seconds=30):
        wait_for(lambda: word in self.text(css), seconds)

    def press(self, *keys):
        """To whatever has the focus."""
        action = webdriver.ActionChains(self.driver)
        action.send_keys(*keys).perform()

    def chord(self, modifier, key):
        webdriver.ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def console(self):
        """What the page complained of since the last call: errors, refused resources, policy."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]

    def requests(self):
        """Every address that was asked for since the last call."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def picture(self, name):
        """docs/name.png, where it was asked for: the tests leave the tree as it is."""
        if PICTURES:
            self.driver.save_screenshot(os.path.join(ROOT, "docs", name + ".png"))

    def close(self):
        self.driver.quit()


__all__ = ["PICTURES", "Browser", "Keys"]
