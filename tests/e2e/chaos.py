"""A cluster of sim workers, faults drawn from a seed, and what must hold all the same (tests/e2e/test_chaos.py, test_networks.py).

    World    R routers, W workers of a first model and one of a second; a client's requests and faults know it by numbers
    plan()   the faults of a seed, before anything runs: (second, kind, target, seconds that it lasts)
    Chaos    does them, one after the other and in part at once; a worker of the first model that every router knows always stays
    check()  what the clients saw against what was done
"""
import itertools
import os
import random
import re
import shutil
import signal
import threading
import time
from datetime import datetime, timezone

import requests

from conftest import BUILD, SLOW, Cluster, Process, free_port, parse_metrics, tiny_model, wait_for
from scripted_worker import GENERATE, ScriptedWorker
from traffic import TABLE

DEAD_S = 2.0 * SLOW         # --worker-dead-ms: a router takes a worker for dead
ROUTER_DEAD_S = 3.0 * SLOW  # --router-dead-ms: a worker frees the reqs of a router
SLACK_S = 1.0 * SLOW        # beside that: ticks of 50 ms, a prefill of 20 ms, three processes that want the same two cores
BACK_S = 30                 # what was broken serves again, at the latest
OTHER = "other-model"


def plan(seed, seconds, every_s, workers, routers):
    """[(at, kind, target, hold)]; targets: ("worker", i), ("router", i), ("intruder", 0). Worker `workers` is the second model's."""
    rng, at, faults = random.Random(seed), 2.0, []
    kinds = {"worker": (("kill", 4), ("pause", 1), ("hang", 2), ("replace", 1), ("drain", 2), ("drain_kill", 1)),
             "router": (("kill", 3), ("pause", 1), ("hang", 1), ("drain", 1)), "intruder": (("model", 1), ("version", 1))}
    holds = {"pause": (0.2, 1.5), "hang": (3.5, 5.0), "replace": (0.5, 4.0), "drain_kill": (0.05, 1.0)}
    while at < seconds:
        what = rng.choices(("worker", "router", "intruder"), (14, 4, 1))[0]
        names, weights = zip(*kinds[what])
        kind = rng.choices(names, weights)[0]
        target = rng.randrange({"worker": workers + 1, "router": routers, "intruder": 1}[what])
        hold = rng.uniform(*holds.get(kind, (0.0, 4.0))) * (rng.random() > 0.3 or kind in holds)
        faults.append((at, kind, (what, target), hold))
        at += rng.expovariate(1 / every_s)
    return faults


class Fault:
    def __init__(self, kind, target, hold):
        self.kind, self.target, self.hold = kind, target, hold
        self.began, self.down_until, self.ended = time.monotonic(), None, None
        self.joining = False  # a router that is back and does not know all workers yet
        self.takes_calls = target[0] == "router" and kind in ("kill", "hang", "cable")  # with it: what it holds may fail

    def __repr__(self):
        return f"{self.kind} of {self.target[0]} {self.target[1]} at {self.began:.2f} for {(self.ended or 0) - self.began:.2f} s"

    def overlaps(self, began, ended, margin=0.0):
        return self.began <= ended and began <= (self.ended or ended) + margin


class World(Cluster):
    def __init__(self, folder, workers, routers, launch_us=20000, drain_s=2, wire_args=()):
        self.count, self.admin_ports = workers, {}
        first, second = self.folders(str(folder))
        self.engine = self.engine_args(str(folder), launch_us)
        self.models, self.drain_s, self.wire_args = [first] * workers + [second], drain_s, list(wire_args)
        super().__init__(folder, workers=0, routers=routers, model=first, start=False,
                         router_args=["--model", second, "--drain-settle", "1", "--failover-wait-s", str(int(6 * SLOW)), *wire_args])

    def folders(self, folder):
        """Of the two models."""
        first, second = tiny_model(os.path.join(folder, "first")), os.path.join(folder, OTHER)
        shutil.copytree(first, second)
        return first, second

    def engine_args(self, folder, launch_us):
        table = os.path.join(folder, "table.json")
        with open(table, "w", encoding="utf-8") as f:
            f.write(TABLE % launch_us)
        return ["--engine", "sim", "--sim-table", table, "--kv-mib", "1024", "--max-running", "64"]

    def store(self, i):
        """The folder of worker i's --kv-store: that of the one before, or, while that one lives, what a new node would have."""
        held = {p.store for p in self.workers + self.ended if p and hasattr(p, "store") and p.alive()}
        return next(s for s in (os.path.join(self.folder, f"store-{i}-{n}") for n in itertools.count()) if s not in held)

    def start_worker(self, i, args=()):
        self.admin_ports[i], store = free_port(), self.store(i)
        argv = [*self.place("worker", i), os.path.join(BUILD, "msgl-worker"), "--model", self.models[i], "--id", f"worker-{i}",
                *self.engine, "--kv-store", store,
                "--router-dead-ms", str(int(ROUTER_DEAD_S * 1000)), "--drain-timeout", str(self.drain_s),
                "--admin-host", self.host("worker", i), "--admin-port", str(self.admin_ports[i]), *self.wire_args, *args]
        for r in range(len(self.ports)):
            argv += ["--router", self.wire(r)]
        process = Process(argv, self._log(f"worker-{i}"))
        process.store = store
        return self.keep_worker(i, process)

    def close(self):
        """Nothing ends that was not made to."""
        gone = [f"{p.argv} ended by itself with {p.popen.poll()}: {p.text()[-1500:]}" for p in self.workers + self.routers
                if p and not p.alive()]
        return gone + super().close()

    def worker_metrics(self, i):
        """{name: value}: a worker's have one model's labels."""
        url = f"http://{self.host('worker', i)}:{self.admin_ports[i]}/metrics"
        found = parse_metrics(requests.get(url, timeout=5 * SLOW).text)
        blocks = [re.search(r'num_gpu_blocks="(\d+)"', labels) for name, labels in found if "cache_config" in name]
        return {"pages": int(blocks[0].group(1)) if blocks else -1, **{name: value for (name, _), value in found.items()}}

    def known(self, router):
        """Names of the workers that this router can send to."""
        workers = requests.get(self.admin(router) + "/cluster", timeout=2 * SLOW).json()["workers"]
        return {w["name"] for w in workers if not w["draining"] and w["index_exact"]}

    def joined(self, workers, routers):
        """Each of these workers has a session with each of these routers, and both ends say so."""
        try:
            return all({f"worker-{w}" for w in workers} <= self.known(r) for r in routers) and all(
                self.worker_metrics(w).get("msgl_worker_routers", 0) >= len(routers) for w in workers)
        except requests.RequestException:
            return False

    def empty(self):
        """What is still held anywhere; "" when nothing is."""
        held = []
        for i in range(len(self.workers)):
            m = self.worker_metrics(i)
            if m["vllm:num_requests_running"] or m["vllm:num_requests_waiting"] or m["vllm:kv_cache_usage_perc"] or \
                    m["msgl_worker_pages_free"] != m["pages"]:
                held.append(f"worker {i}: {m}")
        for i in range(len(self.ports)):
            values = [self.metric(f"msgl_router_{name}", i) for name in ("streams", "queued")]
            if any(values):
                held.append(f"router {i}: streams, queued {values}")
        return "; ".join(held)


class Stalls:
    """How late this machine was: a thread that sleeps for 20 ms and looks how long it slept."""

    def __init__(self):
        self.late, self.stopping = [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        last = time.monotonic()
        while not self.stopping:
            time.sleep(0.02)
            now = time.monotonic()
            if now - last > 0.1:
                self.late.append((now, now - last - 0.02))
            last = now

    def worst(self, began, ended):
        return max((late for at, late in self.late if began <= at <= ended + 1), default=0.0)

    def stop(self):
        self.stopping = True
        self.thread.join()


class Chaos:
    def __init__(self, world, slack_s=SLACK_S):
        self.world, self.slack_s = world, slack_s
        self.faults, self.busy, self.problems = [], {}, []
        self.lock, self.threads = threading.Lock(), []

    # ---- may it be done now ----
    def _up(self, what):
        count = self.world.count + 1 if what == "worker" else len(self.world.ports)
        return [i for i in range(count) if (what, i) not in self.busy]

    def _routers_that_count(self):
        """All but those whose calls are lost anyhow."""
        return [i for i in range(len(self.world.ports))
                if ("router", i) not in self.busy or self.busy["router", i].kind in ("drain", "pause")]

    def _allowed(self, kind, target):
        what, i = target
        if target in self.busy:
            return False
        if what == "intruder":
            return True
        busy = list(self.busy.values())
        if any(f.joining for f in busy) or any(f.kind == "pause" for f in busy):
            return False  # a router that is back may know one worker only; what pauses is not to add to a detection
        if what == "router":
            return not any(f.target[0] == "router" for f in busy)
        if kind == "pause" and any(time.monotonic() - f.began < DEAD_S + self.slack_s for f in self.faults if f.target[0] == "worker"):
            return False
        if any(f.target[0] == "router" and f.kind == "drain" for f in busy):
            return False  # it is about to come back
        others = [w for w in self._up("worker") if w not in (i, self.world.count)]
        routers = self._routers_that_count()
        return i == self.world.count or any(self.world.joined([w], routers) for w in others)

    def run(self, faults, seconds):
        start = time.monotonic()
        for at, kind, target, hold in faults:
            time.sleep(max(0.0, start + at - time.monotonic()))
            if time.monotonic() - start > seconds or self.problems:
                break
            wait_for(lambda: self._allowed(kind, target), BACK_S + 20)
            with self.lock:
                fault = self.busy[target] = Fault(kind, target, hold)
                self.faults.append(fault)
            thread = threading.Thread(target=self._thread, args=(fault,), daemon=True)
            self.threads.append(thread)
            thread.start()
        for thread in self.threads:
            thread.join(120 * SLOW)
            assert not thread.is_alive(), "a fault never ended"
        assert not self.problems, self.problems

    # ---- doing it ----
    def _thread(self, fault):
        try:
            getattr(self, "_" + fault.target[0])(fault)
        except Exception as e:  # pylint: disable=broad-except
            self.problems.append(f"{fault}: {type(e).__name__}: {e}")
        fault.ended = time.monotonic()
        with self.lock:
            del self.busy[fault.target]

    def _worker(self, f):
        i, world = f.target[1], self.world
        process = world.workers[i]
        if f.kind in ("pause", "hang"):
            process.kill(signal.SIGSTOP)
            time.sleep(f.hold)
            process.kill(signal.SIGCONT)
        elif f.kind == "replace":  # as when a node is lost: another of the same name, while the old one is still there
            process.kill(signal.SIGSTOP)
            time.sleep(f.hold)
            world.start_worker(i)
            process.kill()
        elif f.kind == "drain_kill":
            process.popen.terminate()
            time.sleep(f.hold)
            process.kill()
            world.start_worker(i)
        else:
            code = process.kill(signal.SIGTERM if f.kind == "drain" else signal.SIGKILL)
            assert code == 0 or f.kind == "kill", process.text()[-2000:]
            time.sleep(f.hold)
            world.start_worker(i)
        wait_for(lambda: world.joined([i], self._routers_that_count()), BACK_S)

    def _router(self, f):
        i, world = f.target[1], self.world
        process = world.routers[i]
        if f.kind in ("pause", "hang"):
            process.kill(signal.SIGSTOP)
            time.sleep(f.hold)
            process.kill(signal.SIGCONT)
        else:
            code = process.kill(signal.SIGTERM if f.kind == "drain" else signal.SIGKILL)
            assert code == 0 or f.kind == "kill", process.text()[-2000:]
            time.sleep(f.hold)
            world.start_router(i)
        f.joining, f.down_until = True, time.monotonic()
        wait_for(lambda: world.joined(self._up("worker"), [i]), BACK_S)

    def _intruder(self, f):
        """Says that it is a worker of the first model, and is none: every router refuses it and it never gets a req."""
        lie = {"fp": 12345} if f.kind == "model" else {"v": 2}
        routers = self._up("router")
        intruders = [ScriptedWorker(self.world.wire(r), self.world.model, name=f"intruder-{len(self.faults)}", **lie) for r in routers]
        try:
            time.sleep(1)
            assert all(w.refusals or ("router", r) in self.busy or not self.calm("router", r, 3) for w, r in zip(intruders, routers))
            assert not any(w.frames(GENERATE) for w in intruders)
        finally:
            for w in intruders:
                w.kill()

    def calm(self, what, i, seconds):
        """Nothing was done to it in the last seconds."""
        now = time.monotonic()
        return not any(f.target == (what, i) and f.overlaps(now - seconds, now) for f in self.faults)

    # ---- what must hold ----
    def excuse(self, outcome):
        """Why this call may have failed, or None."""
        for f in self.faults:
            if f.target == ("router", outcome.router) and f.takes_calls:
                until = max(f.down_until or f.ended, f.began + 1.5) + 0.3  # the balancer's notice of it
                if f.began <= outcome.ended and outcome.began <= until:
                    return f
            if f.target == ("worker", self.world.count) and outcome.model == OTHER and f.overlaps(outcome.began, outcome.ended):
                return f
        return None

    def attempts(self):
        """{call: attempts}, from the routers' lines."""
        found = {}
        for i in range(len(self.world.ports)):
            with open(self.world._log(f"router-{i}"), encoding="utf-8", errors="replace") as f:
                for line in f:
                    match = re.search(r"call\.done id=traffic-(\d+) .* attempts=(\d+)", line)
                    if match:
                        found[int(match.group(1))] = int(match.group(2))
        return found

    def silence_bound(self, outcome, attempts, stalls):
        """Seconds: the detection time for each worker that was lost under it, a prefill, a router's own pause, and the slack: 1 s and
        three times as long as this machine kept a mere sleep waiting then (client, router and worker queue up behind one another)."""
        paused = sum(f.hold for f in self.faults if f.target == ("router", outcome.router) and f.kind == "pause" and
                     f.overlaps(outcome.began, outcome.ended))
        losses = max(1, attempts.get(outcome.number, 1) - 1)
        return DEAD_S * losses + paused + self.slack_s + 3 * stalls.worst(outcome.gap_end - outcome.gap, outcome.gap_end)

    def check(self, outcomes, stalls):
        """The issue's list; returns figures."""
        wrong = [o for o in outcomes if o.kind == "wrong"]
        assert not wrong, wrong[:5]
        excused = [o for o in outcomes if self.excuse(o)]
        held = set(o.number for o in excused)
        failed = [o for o in outcomes if o.kind != "ok" and o.number not in held]
        assert not failed, f"{len(failed)} of {len(outcomes)}: {failed[:5]}; faults: {[f for f in self.faults if f.overlaps(failed[0].began, failed[0].ended, 3)]}"
        attempts = self.attempts()
        slow = [(o, self.silence_bound(o, attempts, stalls)) for o in outcomes if o.number not in held]
        slow = [(o, bound) for o, bound in slow if o.gap > bound]
        assert not slow, f"{len(slow)} too long: {slow[:3]}"
        freed = self.check_freed(stalls)
        gaps = sorted(o.gap for o in outcomes if o.number not in held)
        return {"faults": len(self.faults), "calls": len(outcomes), "ok": sum(o.kind == "ok" for o in outcomes),
                "tokens": sum(o.tokens for o in outcomes), "moved": sum(n - 1 for n in attempts.values()), "freed": freed,
                "cut with their router": sum(o.kind != "ok" for o in excused), "longest silence": round(gaps[-1], 2)}

    def check_freed(self, stalls):
        """Every worker that was up when a router went let go of its reqs within the detection time. Returns how many reqs."""
        count = 0
        for f in self.faults:
            if not f.takes_calls:
                continue
            limit = ROUTER_DEAD_S + self.slack_s + 3 * stalls.worst(f.began, f.began + ROUTER_DEAD_S)
            for w in range(self.world.count + 1):
                if any(g.target == ("worker", w) and g.overlaps(f.began - limit, f.began + limit) for g in self.faults):
                    continue
                reqs = self.session_over(w, f.target[1], f.began, f.began + limit)
                assert reqs is not None, f"worker {w} kept its session with a router: {f}"
                count += reqs
        return count

    def session_over(self, worker, router, began, ended):
        """reqs of the line in which the worker ends its session with the router, within that time; None without one."""
        offset = time.time() - time.monotonic()
        with open(self.world._log(f"worker-{worker}"), encoding="utf-8", errors="replace") as f:
            for line in f:
                match = re.match(r"(\S+) W \S+ links\.session_over router=(\S+) reqs=(\d+)", line)
                if match and match.group(2) == self.world.wire(router):
                    day = datetime.now(timezone.utc).date()
                    at = datetime.strptime(f"{day} {match.group(1)}", "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=timezone.utc)
                    since = (at.timestamp() - offset - began + 43200) % 86400 - 43200  # over midnight too
                    if -0.1 <= since <= ended - began:
                        return int(match.group(3))
        return None
