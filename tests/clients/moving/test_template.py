"""ARM templates: which relays and rules they describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fanway.errors import ConfigurationError
from fanway.moving.resources import HYBRID_CONNECTION, NAMESPACE, NAMESPACE_RULE, WCF_RELAY, Resource
from fanway.moving.template import is_parameters, is_template, parameter_values, template_resources

SAMPLE = json.loads((Path(__file__).parents[2] / "vectors/azuredeploy.json").read_text())


def read(template: dict[str, Any], **given: Any) -> tuple[list[Resource], list[str]]:
    notes: list[str] = []
    return list(template_resources(template, given, "t.json", notes)), notes


def of(*resources: Any, **more: Any) -> dict[str, Any]:
    return {"resources": list(resources), **more}


def relay(name: str = "ns/a", **more: Any) -> dict[str, Any]:
    return {"type": "Microsoft.Relay/namespaces/hybridConnections", "name": name, **more}


def test_nested_and_flat_resources_are_found_with_their_names_resolved() -> None:
    resources, notes = read(SAMPLE, namespaceName="contoso")
    assert [(each.kind.removeprefix(NAMESPACE), each.namespace, each.path, each.rule) for each in resources] == [
        ("", "contoso", "", ""),
        ("/hybridconnections", "contoso", "authenticated", ""),
        ("/hybridconnections", "contoso", "unauthenticated", ""),
        ("/hybridconnections/authorizationrules", "contoso", "unauthenticated", "plant-sender"),
        ("/wcfrelays", "contoso", "plant-meters", ""),
        ("/authorizationrules", "contoso", "", "listeners"),
    ]
    assert resources[1].boolean("requiresClientAuthorization", False) is True
    assert resources[2].boolean("requiresClientAuthorization", True) is False
    assert resources[3].value("primaryKey") == "c2VuZGVyIGtleSBvZiB0aGUgdGVtcGxhdGU="
    assert resources[4].text("userMetadata") == "[counts]"
    [note] = notes
    assert "resources[3]: skipped" in note
    assert "storageaccounts" in note


def test_what_cannot_be_resolved_is_told_with_its_place() -> None:
    with pytest.raises(ConfigurationError, match=r"t\.json: resources\[1\]\.name: The parameter 'namespaceName'"):
        read(SAMPLE)


def test_a_namespace_needs_no_name_where_its_relays_are_nested() -> None:
    namespace = {"type": "Microsoft.Relay/namespaces", "name": "[uniqueString('x')]"}
    [outer, inner] = read(of({**namespace, "resources": [{"type": "hybridConnections", "name": "a/b"}]}))[0]
    assert (outer.kind, inner.kind, inner.path) == (NAMESPACE, HYBRID_CONNECTION, "a/b")


def test_bicep_gives_resources_symbolic_names_and_modules_their_own_scope() -> None:
    module = {
        "type": "Microsoft.Resources/deployments",
        "name": "module",
        "properties": {
            "expressionEvaluationOptions": {"scope": "inner"},
            "parameters": {"relay": {"value": "[parameters('name')]"}},
            "template": {
                "parameters": {"relay": {"type": "string"}},
                "resources": {"hc": relay("[format('ns/{0}', parameters('relay'))]")},
            },
        },
    }
    template = {"parameters": {"name": {"defaultValue": "inner"}}, "resources": {"module": module}}
    [found], _ = read(template)
    assert (found.path, found.place) == ("inner", "t.json: resources.module.properties.template.resources.hc")


def test_a_linked_template_is_skipped_and_said_so() -> None:
    linked = {"type": "Microsoft.Resources/deployments", "properties": {"templateLink": {"uri": "https://x"}}}
    assert "is not in the file" in read(of(linked))[1][0]


@pytest.mark.parametrize("more", [{"condition": False}, {"condition": "[equals('a', 'b')]"}, {"existing": True}])
def test_what_is_not_to_be_made_is_skipped(more: dict[str, Any]) -> None:
    resources, notes = read(of(relay(**more)))
    assert (resources, len(notes)) == ([], 1)


@pytest.mark.parametrize("kind", ["privateEndpointConnections", "something"])
def test_other_things_of_a_relay_are_skipped_and_said_so(kind: str) -> None:
    resources, [note] = read(of({"type": f"Microsoft.Relay/namespaces/{kind}", "name": "[unknown()]"}))
    assert (resources, "is not taken over" in note) == ([], True)


def test_rules_have_the_last_name_and_relays_what_lies_between() -> None:
    wcf = {"type": "Microsoft.Relay/namespaces/wcfRelays/authorizationRules", "name": "ns/a/b/rule"}
    flat = {"type": "microsoft.relay/NAMESPACES/authorizationrules", "name": "ns/rule"}
    [first, second], _ = read(of(wcf, flat))
    assert (first.kind, first.path, first.rule) == (f"{WCF_RELAY}/authorizationrules", "a/b", "rule")
    assert (second.kind, second.path, second.rule) == (NAMESPACE_RULE, "", "rule")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (of("text"), r"resources\[0\]: should be a resource"),
        ({"resources": {"a": 5}}, r"resources\.a: should be a resource"),
        (of({}), r"resources\[0\]\.type: should be a text"),
        (of({"type": 5}), r"resources\[0\]\.type: should be a text"),
        (of(relay(name="")), r"resources\[0\]\.name: should be a text"),
        (of(relay(name="ns")), "does not fit the type"),
        (of(relay(name="ns//")), "does not fit the type"),
        (of(relay(copy={"name": "c", "count": 3})), r"resources\[0\]\.copy: loops"),
        (of(relay(condition="maybe")), r"resources\[0\]\.condition: should be true or false"),
        (of(relay(properties=[])), r"resources\[0\]\.properties: should be an object"),
        (of(relay(properties={"userMetadata": "[reference('x')]"})), r"properties\.userMetadata: reference\(\)"),
        (of(relay(metadata={"fanway": 5})), r"metadata\.fanway: should be an object"),
        (of(relay(resources=5)), r"resources\[0\]\.resources: should be a list"),
        (of(parameters=5), "parameters: should hold an object"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(template: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read(template)


def test_files_of_parameters_are_told_from_templates() -> None:
    schema = "https://schema.management.azure.com/schemas/2015-01-01/deploymentParameters.json#"
    parameters = {"$schema": schema, "parameters": {"a": {"value": 1}, "b": {"reference": {}}}}
    assert is_parameters(parameters)
    assert not is_template(parameters)
    assert parameter_values(parameters) == {"a": 1}
    assert is_parameters({"parameters": {"a": {"value": 1}}})
    assert not is_parameters(SAMPLE)
