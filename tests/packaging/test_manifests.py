"""The Kubernetes examples: they build, every object is valid, and nothing in them asks for more than it needs."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

Object = dict[str, Any]  # Any: what a YAML document holds

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def objects(run: Callable[..., str], real: Callable[..., None], repository: Path) -> list[Object]:
    real("kubectl")
    built = run("kubectl", "kustomize", repository / "deploy/kubernetes/sidecar")
    return [document for document in yaml.safe_load_all(built) if document]


@pytest.fixture(scope="module")
def pod(objects: list[Object]) -> Object:
    [workload] = [o for o in objects if o["kind"] == "StatefulSet"]
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def sidecar(pod: Object) -> Object:
    [container] = [c for c in pod["initContainers"] if c["name"] == "ingestd"]
    found: Object = container
    return found


@pytest.fixture(scope="module")
def settings(objects: list[Object]) -> Object:
    [config] = [o for o in objects if o["kind"] == "ConfigMap"]
    return tomllib.loads(config["data"]["ingestd.toml"])


def test_every_object_is_valid(objects: list[Object]) -> None:
    """Against the schemas of the oldest Kubernetes with native sidecars and of the newest known, unknown fields refused."""
    assert sorted(o["kind"] for o in objects) == ["ConfigMap", "Service", "StatefulSet"]
    for version in ("1.29", kubernetes_validate.latest_version()):
        for one in objects:
            kubernetes_validate.validate(one, version, strict=True)


def test_pods_are_restricted(pod: Object) -> None:
    """Pod Security Standard "restricted", with a read-only root on top, for every container."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["initContainers"] + pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert not [e for e in container.get("env", []) if "TOKEN" in e["name"]]  # I7: by file, never by environment
    allowed = {"configMap", "projected", "emptyDir", "persistentVolumeClaim", "secret", "downwardAPI"}
    assert {key for volume in pod["volumes"] for key in volume} - {"name"} <= allowed


def test_is_a_native_sidecar_that_outlives_the_gateway(pod: Object, sidecar: Object, settings: Object) -> None:
    """Started before and stopped after the gateway, with time left for the daemon's own deadline."""
    assert sidecar["restartPolicy"] == "Always"
    assert pod["terminationGracePeriodSeconds"] > settings["shutdown"]["deadline_seconds"]


def test_unsent_files_are_on_a_claim(objects: list[Object], sidecar: Object, settings: Object) -> None:
    """I1: inbox, done, failed and state on one volume that outlives the pod."""
    [workload] = [o for o in objects if o["kind"] == "StatefulSet"]
    claims = {claim["metadata"]["name"] for claim in workload["spec"]["volumeClaimTemplates"]}
    [place] = [m["mountPath"] for m in sidecar["volumeMounts"] if m["name"] in claims]
    assert {str(Path(folder).parent) for folder in settings["folders"].values()} == {place}
    assert workload["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_probes_reach_the_listener(sidecar: Object, settings: Object) -> None:
    """The kubelet comes from outside the pod's loopback, and asks what DESIGN promises."""
    address, port = settings["admin"]["listen"].rsplit(":", 1)
    assert address == "0.0.0.0"
    assert [p["containerPort"] for p in sidecar["ports"] if p["name"] == "metrics"] == [int(port)]
    asked = {name: sidecar[name]["httpGet"] for name in ("livenessProbe", "readinessProbe", "startupProbe")}
    assert asked == {
        "livenessProbe": {"path": "/livez", "port": "metrics"},
        "readinessProbe": {"path": "/readyz", "port": "metrics"},
        "startupProbe": {"path": "/readyz", "port": "metrics"},
    }


def test_the_token_file_is_mounted(pod: Object, sidecar: Object, settings: Object) -> None:
    """auth.token_file lies in the projected secret, which the world cannot read."""
    [place] = [Path(m["mountPath"]) for m in sidecar["volumeMounts"] if m["name"] == "token"]
    [volume] = [v["projected"] for v in pod["volumes"] if v["name"] == "token"]
    assert Path(settings["auth"]["token_file"]) == place / volume["sources"][0]["secret"]["items"][0]["path"]
    assert volume["defaultMode"] == 0o440
