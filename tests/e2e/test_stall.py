"""Tokenizing a long prompt must not stall other streams: a 1 MB prompt beside 50 running streams,
with a scripted worker that sends a token to each stream every 10 ms and stamps the time."""
import os
import socket
import sys
import threading
import time

import pytest
from conftest import SLOW, Cluster

sys.path.insert(0, os.path.dirname(__file__))
