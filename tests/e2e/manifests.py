"""What kustomize would make of deploy/kubernetes, as far as our overlays use it: resources, and JSON patches on named targets."""
import os
import re

import yaml

from conftest import ROOT

FOLDER = os.path.join(ROOT, "deploy", "kubernetes")
OVERLAYS = sorted(os.listdir(os.path.join(FOLDER, "overlays")))


def load(path):
    with open(path, encoding="utf-8") as f:
        return [d for d in yaml.safe_load_all(f) if d]


def patch(document, operations):
    for op in operations:
        *path, last = [p.replace("~1", "/") for p in op["path"].strip("/").split("/")]
        at = document
        for key in path:
            at = at[int(key)] if isinstance(at, list) else at[key]
        if isinstance(at, list):
            assert op["op"] == "add" and last == "-", op
            at.append(op["value"])
        else:
            assert op["op"] == "add" or last in at, op
            at[last] = op["value"]


def compose(folder):
    """The documents of a kustomization folder."""
    kustomization, = load(os.path.join(folder, "kustomization.yaml"))
    assert set(kustomization) <= {"apiVersion", "kind", "resources", "patches", "labels"}, kustomization
    documents = []
    for name in kustomization["resources"]:
        path = os.path.join(folder, name)
        documents += compose(path) if os.path.isdir(path) else load(path)
    for item in kustomization.get("patches", []):
        found = [d for d in documents if d["kind"] == item["target"]["kind"] and
                 d["metadata"]["name"] == item["target"]["name"]]
        assert len(found) == 1, item["target"]
        patch(found[0], yaml.safe_load(item["patch"]))
    return documents


def container(documents, kind):
    found, = [d for d in documents if d["kind"] == kind]
    return found, found["spec"]["template"]["spec"], found["spec"]["template"]["spec"]["containers"][0]


def command(spec, env):
    """The words of a container's process, with $(NAME) replaced as a kubelet does."""
    return [re.sub(r"\$\((\w+)\)", lambda m: env[m.group(1)], w) for w in spec["command"] + spec["args"]]
