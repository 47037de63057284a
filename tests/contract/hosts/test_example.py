"""The page of examples holds for hosts: what it says is applied, and does what it says."""

import json
import string
from pathlib import Path

import pytest
import yaml

from tests.fixtures.sites import open_sites


EXAMPLE = Path(__file__).parent.parent.parent.parent / "docs" / "examples" / "hosts.yaml"


@pytest.mark.timeout(60)
async def test_the_example_of_a_host_does_what_it_says(postgres):
    async with open_sites(postgres) as sites, sites.browser() as http:
        await sites.website("shop")
        await sites.website("shop-canary")
        issued = sites.ca.issue("shop.example", "www.shop.example")
        pems = {
            "SHOP_CHAIN_PEM": json.dumps(issued.chain_pem),
            "SHOP_KEY_PEM": json.dumps(issued.key_pem),
        }
        filled = string.Template(EXAMPLE.read_text()).substitute(pems)
        await sites.apply(*yaml.safe_load(filled)["objects"])

        async def asked(path, **headers):
            async with http.get(sites.url(path), headers=headers, allow_redirects=False) as answer:
                return answer.status, answer.headers.get("location"), await answer.text()

        assert (await asked("/"))[0] == 200
        assert (await asked("/store/1"))[:2] == (308, sites.url("/shop/1"))
        assert (await asked("/status"))[2] == '{"open": true}'
        assert (await asked("/api/items"))[0] == 401
        user = await sites.user()
        said = json.loads((await asked("/orders/12", **user))[2])
        assert said["path"] == "/v2/orders/12"
        said = json.loads((await asked("/api/items", **user))[2])
        assert (said["path"], said["headers"]["x-entry"]) == ("/items", "shop")
        assert (await asked("/admin", **user))[0] == 403
        assert (await asked("/admin", **await sites.user("operator")))[0] == 200
        assert json.loads((await asked("/search?beta=1"))[2])["site"] == "shop-canary"
