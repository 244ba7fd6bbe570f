"""The recipes of `fanway dev-cert`, carried out as printed, each by its own client against a served gateway."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import FANWAY, require

JAVA = """
import java.net.*;
public class Call {
    public static void main(String[] a) throws Exception {
        System.out.println(((HttpURLConnection) new URI(a[0]).toURL().openConnection()).getResponseCode());
    }
}
"""
NODE = "require('https').get(process.argv[1], answer => { console.log(answer.statusCode); process.exit(); })"
PYTHON = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)"


@dataclass
class Shell:
    """A folder in which `fanway dev-cert` has run and a gateway serves with what it made."""

    folder: Path
    url: str
    recipes: dict[str, list[str]]

    def run(self, command: str) -> str:
        """The output of a shell command in this folder, without its last line end."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": 60}
        return subprocess.run(["bash", "-ec", command], cwd=self.folder, check=False, **options).stdout.strip()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("trust")
    made = subprocess.run([FANWAY, "dev-cert"], cwd=folder, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    recipes: dict[str, list[str]] = {}
    for line in made.stdout.partition("To trust it:\n")[2].splitlines():
        client = line[:10].strip() or list(recipes)[-1]
        recipes.setdefault(client, []).append(line[10:])
    serve = [FANWAY, "serve", "--json", "--listen", "127.0.0.1:0", "--log-level", "error"]
    with subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE) as gateway:
        assert gateway.stdout is not None
        ready = json.loads(gateway.stdout.readline())
        yield Shell(folder, f"{ready['tls_url']}/-/health/live", recipes)
        gateway.terminate()


def test_every_kind_of_client_has_a_recipe(shell: Shell) -> None:
    assert list(shell.recipes) == ["Node", "Python", ".NET", "Java", "curl"]


def test_certificate_is_trusted_by_nobody_without_a_recipe(shell: Shell) -> None:
    url = shlex.quote(shell.url)
    output = shell.run(f"{sys.executable} -c {shlex.quote(PYTHON)} {url} || true")
    assert "CERTIFICATE_VERIFY_FAILED" in output


def test_curl_trusts_the_certificate_by_its_recipe(shell: Shell) -> None:
    require("curl")
    [line] = shell.recipes["curl"]
    assert shell.run(f"{line} -s -o /dev/null -w '%{{http_code}}' {shell.url}") == "200"


def test_node_trusts_the_certificate_by_its_recipe(shell: Shell) -> None:
    node = require("node")
    [line] = shell.recipes["Node"]
    assert shell.run(f"{line}\n{node} -e {shlex.quote(NODE)} {shell.url}") == "200"


def test_python_trusts_the_certificate_by_its_recipe(shell: Shell) -> None:
    [line] = shell.recipes["Python"]
    assert shell.run(f"{line}\n{sys.executable} -c {shlex.quote(PYTHON)} {shell.url}") == "200"


def test_openssl_trusts_the_certificate_by_the_recipe_for_dotnet(shell: Shell) -> None:
    """.NET on Linux reads its roots as OpenSSL does, from the file that this variable names."""
    require("openssl")
    [line] = shell.recipes[".NET"]
    authority = line.partition("=")[2]
    chain = "openssl verify -no-CApath -verify_hostname localhost -purpose sslserver .fanway/tls/server.pem"
    assert authority == ".fanway/tls/ca.pem"
    assert shell.run(f"{line}\n{chain}").endswith("server.pem: OK")
    assert "error" in shell.run(f"SSL_CERT_FILE=/dev/null {chain} || true")


@pytest.mark.parametrize("maker", ["keytool", "fanway"])
def test_java_trusts_the_certificate_by_its_recipe(shell: Shell, maker: str) -> None:
    require("java")
    (shell.folder / "Call.java").write_text(JAVA)
    if maker == "keytool":
        require("keytool")
        keytool, java = shell.recipes["Java"]
        shell.run(f"rm -f fanway.p12; {keytool}")
    else:
        output = shell.run(f"{FANWAY} dev-cert --java-truststore fanway.p12")
        java = next(line[10:] for line in output.splitlines() if line.startswith("  Java"))
    assert shell.run(f"{java} Call.java {shell.url}") == "200"
