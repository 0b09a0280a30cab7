"""Who may see what a node uses: what the API server is asked, and for how long its answer holds."""

import json
from typing import Any

from cloud.delegated_access import ALLOWED_S, KEPT, REFUSED_S, DelegatedAccess
from cloud.writes import Answer, Request


class ApiServer:
    """Knows one token, and what its user may."""

    def __init__(self) -> None:
        self.allowed = True
        self.status = 201
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.now = 0.0
        self.access = DelegatedAccess(self.send, lambda: self.now)

    async def send(self, request: Request) -> Answer:
        spec = json.loads(request.body)["spec"]
        self.asked.append((request.path.rpartition("/")[2], spec))
        if self.status != 201:
            return Answer(self.status, "no")
        status: dict[str, Any] = {"allowed": self.allowed}
        if "token" in spec:
            user = {"username": "metrics", "groups": ["g"], "uid": "7"}
            status = {"authenticated": spec["token"] == "good", "user": user if spec["token"] == "good" else {}}
        return Answer(201, "", json.dumps({"status": status}).encode())


async def test_a_user_with_the_right_may() -> None:
    api = ApiServer()
    assert await api.access.check("good", "edge1", "metrics") == 200
    assert [path for path, _ in api.asked] == ["tokenreviews", "subjectaccessreviews"]
    _, spec = api.asked[1]
    assert (spec["user"], spec["groups"], spec["uid"]) == ("metrics", ["g"], "7")
    attributes = spec["resourceAttributes"]
    assert (attributes["verb"], attributes["resource"], attributes["subresource"]) == ("get", "nodes", "metrics")
    assert attributes["name"] == "edge1"


async def test_nobody_else_may() -> None:
    api = ApiServer()
    assert await api.access.check("bad", "edge1", "metrics") == 401
    api.allowed = False
    assert await api.access.check("good", "edge1", "metrics") == 403


async def test_an_answer_holds_for_a_while_and_for_that_question_only() -> None:
    api = ApiServer()
    await api.access.check("good", "edge1", "metrics")
    await api.access.check("good", "edge1", "metrics")
    assert len(api.asked) == 2
    await api.access.check("good", "edge2", "metrics")
    await api.access.check("good", "edge1", "stats")
    assert len(api.asked) == 6
    api.now, api.allowed = ALLOWED_S + 1, False
    assert await api.access.check("good", "edge1", "metrics") == 403
    api.now, api.allowed = api.now + REFUSED_S + 1, True
    assert await api.access.check("good", "edge1", "metrics") == 200


async def test_an_api_server_that_is_away_is_asked_again() -> None:
    api = ApiServer()
    api.status = 0
    assert await api.access.check("good", "edge1", "metrics") == 500
    api.status = 201
    assert await api.access.check("good", "edge1", "metrics") == 200


async def test_what_is_kept_has_a_bound() -> None:
    api = ApiServer()
    for number in range(KEPT + 1):
        await api.access.check("good", f"edge{number}", "metrics")
    api.asked.clear()
    await api.access.check("good", "edge1", "metrics")
    assert not api.asked
    await api.access.check("good", "edge0", "metrics")
    assert api.asked
