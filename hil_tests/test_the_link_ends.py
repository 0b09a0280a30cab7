"""How the link ends: an orderly stop of either end says that it goes away, and the edge tries again within a second."""

import re

from hil_tests.conftest import NODE, Site


async def test_an_edge_that_stops_says_that_it_goes_away(site: Site) -> None:
    await site.stack.edgecore.stop()
    await site.until("Kubernetes sees the node gone", lambda: not site.ready())
    assert f"node disconnected node={NODE} code=1001" in _log(site, "cloudcore")


async def test_an_edge_tries_again_within_a_second_after_its_cloud_stopped(site: Site) -> None:
    await site.stack.cloudcore.stop()
    await site.stack.cloudcore.start()
    await site.until("the node is back", site.ready)
    ended = re.findall(r"cloud not connected .* retry_s=([\d.]+) reason=.*1001 \(going away\)", _log(site, "edgecore"))
    assert [float(wait) <= 1 for wait in ended] == [True]


def _log(site: Site, process: str) -> str:
    return (site.stack.folder / "logs" / f"{process}.log").read_text()
