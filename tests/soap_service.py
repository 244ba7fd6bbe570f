"""A SOAP service as companies have them: HTTP on a thread, a WSDL, SOAP 1.1 and 1.2, faults, one-way operations.

It knows nothing of relays but what any service behind a proxy knows: `X-Forwarded-Host` and `X-Forwarded-Prefix` say
under which address its callers see it, and so what its WSDL must say.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lxml import etree

SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
TNS = "urn:calculator"

_BINDING = """
  <wsdl:binding name="B{version}" type="t:Port">
    <s{version}:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <wsdl:operation name="Add"><s{version}:operation soapAction="urn:calculator#Add"/>
      <wsdl:input><s{version}:body use="literal"/></wsdl:input>
      <wsdl:output><s{version}:body use="literal"/></wsdl:output></wsdl:operation>
    <wsdl:operation name="Divide"><s{version}:operation soapAction="urn:calculator#Divide"/>
      <wsdl:input><s{version}:body use="literal"/></wsdl:input>
      <wsdl:output><s{version}:body use="literal"/></wsdl:output></wsdl:operation>
    <wsdl:operation name="Note"><s{version}:operation soapAction="urn:calculator#Note"/>
      <wsdl:input><s{version}:body use="literal"/></wsdl:input></wsdl:operation>
  </wsdl:binding>"""

WSDL = (
    """<?xml version="1.0" encoding="utf-8"?>
<wsdl:definitions name="Calculator" targetNamespace="urn:calculator" xmlns:t="urn:calculator"
    xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:xs="http://www.w3.org/2001/XMLSchema"
    xmlns:s11="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:s12="http://schemas.xmlsoap.org/wsdl/soap12/">
  <wsdl:types><xs:schema targetNamespace="urn:calculator" elementFormDefault="qualified">
    <xs:complexType name="Two"><xs:sequence>
      <xs:element name="a" type="xs:int"/><xs:element name="b" type="xs:int"/></xs:sequence></xs:complexType>
    <xs:complexType name="One"><xs:sequence><xs:element name="result" type="xs:int"/></xs:sequence></xs:complexType>
    <xs:element name="Add" type="t:Two"/><xs:element name="AddResponse" type="t:One"/>
    <xs:element name="Divide" type="t:Two"/><xs:element name="DivideResponse" type="t:One"/>
    <xs:element name="Note"><xs:complexType><xs:sequence><xs:element name="text" type="xs:string"/>
      </xs:sequence></xs:complexType></xs:element>
  </xs:schema></wsdl:types>
  <wsdl:message name="AddIn"><wsdl:part name="body" element="t:Add"/></wsdl:message>
  <wsdl:message name="AddOut"><wsdl:part name="body" element="t:AddResponse"/></wsdl:message>
  <wsdl:message name="DivideIn"><wsdl:part name="body" element="t:Divide"/></wsdl:message>
  <wsdl:message name="DivideOut"><wsdl:part name="body" element="t:DivideResponse"/></wsdl:message>
  <wsdl:message name="NoteIn"><wsdl:part name="body" element="t:Note"/></wsdl:message>
  <wsdl:portType name="Port">
    <wsdl:operation name="Add"><wsdl:input message="t:AddIn"/><wsdl:output message="t:AddOut"/></wsdl:operation>
    <wsdl:operation name="Divide">
      <wsdl:input message="t:DivideIn"/><wsdl:output message="t:DivideOut"/></wsdl:operation>
    <wsdl:operation name="Note"><wsdl:input message="t:NoteIn"/></wsdl:operation>
  </wsdl:portType>"""
    + _BINDING.format(version="11")
    + _BINDING.format(version="12")
    + """
  <wsdl:service name="Calculator">
    <wsdl:port name="Soap11" binding="t:B11"><s11:address location="{base}/svc"/></wsdl:port>
    <wsdl:port name="Soap12" binding="t:B12"><s12:address location="{base}/svc"/></wsdl:port>
  </wsdl:service>
</wsdl:definitions>
"""
)


class Calculator(ThreadingHTTPServer):
    """The running service: what it received, byte for byte, and the notes it took."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.notes: list[str] = []
        self.noted = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextlib.contextmanager
def running_calculator() -> Iterator[Calculator]:
    """The service, listening when the block begins."""
    with Calculator() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Calculator

    def do_GET(self) -> None:
        if self.path.lower() != "/svc?wsdl":
            self._answer(404, "text/plain", b"nothing here")
            return
        host, prefix = self.headers["X-Forwarded-Host"], self.headers.get("X-Forwarded-Prefix", "")
        scheme = self.headers.get("X-Forwarded-Proto", "http")
        self._answer(200, "text/xml; charset=utf-8", WSDL.replace("{base}", f"{scheme}://{host}{prefix}").encode())

    def do_POST(self) -> None:
        body = (
            self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else self._chunks()
        )
        self.server.received.append((dict(self.headers.items()), body))
        envelope = etree.fromstring(body)
        soap = etree.QName(envelope).namespace
        operation = envelope.find(f"{{{soap}}}Body")[0]
        match etree.QName(operation).localname:
            case "Add":
                a, b = (int(operation.findtext(f"{{{TNS}}}{name}")) for name in "ab")
                self._reply(soap, f'<AddResponse xmlns="{TNS}"><result>{a + b}</result></AddResponse>')
            case "Divide":
                a, b = (int(operation.findtext(f"{{{TNS}}}{name}")) for name in "ab")
                if b == 0:
                    self._fault(soap, "nobody can divide by zero")
                else:
                    self._reply(soap, f'<DivideResponse xmlns="{TNS}"><result>{a // b}</result></DivideResponse>')
            case "Note":
                self.server.notes.append(operation.findtext(f"{{{TNS}}}text"))
                self.server.noted.set()
                self._answer(202, None, b"")
            case other:
                self._fault(soap, f"what is {other}?")

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply(self, soap: str, body: str, status: int = 200) -> None:
        kind = "text/xml" if soap == SOAP_11 else "application/soap+xml"
        envelope = f'<s:Envelope xmlns:s="{soap}"><s:Body>{body}</s:Body></s:Envelope>'
        self._answer(status, f"{kind}; charset=utf-8", envelope.encode())

    def _fault(self, soap: str, why: str) -> None:
        if soap == SOAP_11:
            fault = f"<s:Fault><faultcode>s:Client</faultcode><faultstring>{why}</faultstring></s:Fault>"
        else:
            fault = (
                "<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code>"
                f'<s:Reason><s:Text xml:lang="en">{why}</s:Text></s:Reason></s:Fault>'
            )
        self._reply(soap, fault, 500)

    def _answer(self, status: int, kind: str | None, body: bytes) -> None:
        self.send_response(status)
        if kind is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
