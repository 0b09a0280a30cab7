"""What a node uses in a kubelet's words."""

from cloud.node_usage import resource_metrics, summary
from edgewire.usage import ContainerUsage, NodeUsage

WEB = ContainerUsage("default", "web", "u1", "c", 1000.5, 900.0, 1_500_000_000, 4096)
SIDE = ContainerUsage("default", "web", "u1", "side", 1000.25, 901.0, 1, 1024)
USAGE = NodeUsage(1001.0, 10.0, 20_000_000_000, 1 << 30, (WEB, SIDE))


def test_prometheus_reads_it_with_times() -> None:
    lines = [line for line in resource_metrics(USAGE).splitlines() if not line.startswith("#")]
    assert lines == [
        'container_cpu_usage_seconds_total{container="c",namespace="default",pod="web"} 1.500000000 1000500',
        'container_cpu_usage_seconds_total{container="side",namespace="default",pod="web"} 0.000000001 1000250',
        'container_memory_working_set_bytes{container="c",namespace="default",pod="web"} 4096 1000500',
        'container_memory_working_set_bytes{container="side",namespace="default",pod="web"} 1024 1000250',
        'container_start_time_seconds{container="c",namespace="default",pod="web"} 900.000 1000500',
        'container_start_time_seconds{container="side",namespace="default",pod="web"} 901.000 1000250',
        "node_cpu_usage_seconds_total 20.000000000 1001000",
        "node_memory_working_set_bytes 1073741824 1001000",
        'pod_cpu_usage_seconds_total{namespace="default",pod="web"} 1.500000001 1000500',
        'pod_memory_working_set_bytes{namespace="default",pod="web"} 5120 1000500',
        "resource_scrape_error 0",
    ]


def test_every_family_says_what_it_is() -> None:
    text = resource_metrics(USAGE)
    assert "# TYPE container_cpu_usage_seconds_total counter\n" in text
    assert "# TYPE node_memory_working_set_bytes gauge\n" in text
    assert text.endswith("resource_scrape_error 0\n")


def test_a_summary_has_the_node_its_pods_and_their_containers() -> None:
    found = summary("edge1", USAGE)
    assert found["node"]["nodeName"] == "edge1"
    assert found["node"]["cpu"] == {"time": "1970-01-01T00:16:41.000000Z", "usageCoreNanoSeconds": 20_000_000_000}
    [pod] = found["pods"]
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "u1"}
    assert pod["memory"]["workingSetBytes"] == 5120
    assert [c["name"] for c in pod["containers"]] == ["c", "side"]
    assert pod["containers"][0]["startTime"] == "1970-01-01T00:15:00.000000Z"
