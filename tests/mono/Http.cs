// A WCF service and a WCF client on HTTP, as Mono has them: SOAP that nobody here wrote.
//
//   Http.exe serve VERSION URL ADDRESS          listens at URL for messages to ADDRESS, until its input ends
//   Http.exe call VERSION ADDRESS WHERE TOKEN   calls ADDRESS; the token stands in the HTTP `head` or in the `message`
//
// VERSION is 1.1 (BasicHttpBinding) or 1.2 (SOAP 1.2 with WS-Addressing, as WS2007HttpBinding has it).
// Both write a JSON line for everything that happens.

using System;
using System.ServiceModel;
using System.ServiceModel.Channels;
using System.Text;
using System.Xml;

[ServiceContract(Namespace = "urn:fanway:office")]
public interface IOffice
{
    [OperationContract]
    int Add(int a, int b);

    [OperationContract]
    int Divide(int a, int b);

    [OperationContract(IsOneWay = true)]
    void Note(string text);
}

public class Office : IOffice
{
    public int Add(int a, int b) { return a + b; }

    public int Divide(int a, int b)
    {
        if (b == 0)
            throw new FaultException("nobody can divide by zero");
        return a / b;
    }

    public void Note(string text)
    {
        int tokens = OperationContext.Current.IncomingMessageHeaders.FindHeader("RelayAccessToken", RelayToken.Connect);
        Http.Say("note", tokens < 0 ? "text" : "stolen", text);
    }
}

public class RelayToken : MessageHeader
{
    public const string Connect = "http://schemas.microsoft.com/netservices/2009/05/servicebus/connect";
    const string Security = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
    readonly string token;

    public RelayToken(string token) { this.token = token; }

    public override string Name { get { return "RelayAccessToken"; } }

    public override string Namespace { get { return Connect; } }

    protected override void OnWriteHeaderContents(XmlDictionaryWriter writer, MessageVersion version)
    {
        writer.WriteStartElement("wsse", "BinarySecurityToken", Security);
        writer.WriteString(Convert.ToBase64String(Encoding.UTF8.GetBytes(token)));
        writer.WriteEndElement();
    }
}

public static class Http
{
    static Binding BindingOf(string version)
    {
        if (version == "1.1")
            return new BasicHttpBinding();
        var text = new TextMessageEncodingBindingElement(MessageVersion.Soap12WSAddressing10, Encoding.UTF8);
        return new CustomBinding(text, new HttpTransportBindingElement());
    }

    public static int Main(string[] args)
    {
        return args[0] == "serve" ? Serve(args[1], args[2], args[3]) : Call(args[1], args[2], args[3], args[4]);
    }

    static int Serve(string version, string url, string address)
    {
        var host = new ServiceHost(typeof(Office));
        host.AddServiceEndpoint(typeof(IOffice), BindingOf(version), address, new Uri(url));
        host.Open();
        Say("ready", "url", url);
        Console.In.ReadToEnd();
        return 0;
    }

    static int Call(string version, string address, string where, string token)
    {
        var factory = new ChannelFactory<IOffice>(BindingOf(version), new EndpointAddress(address));
        var office = factory.CreateChannel();
        With(office, where, token, () => Say("sum", "sum", office.Add(40, 2).ToString()));
        With(office, where, token, () => Say("quotient", "quotient", office.Divide(84, 2).ToString()));
        With(office, where, token, () => office.Divide(1, 0));
        With(office, where, token, () => office.Note("one way"));
        Say("done", "by", "client");
        return 0;
    }

    static void With(IOffice office, string where, string token, Action call)
    {
        using (new OperationContextScope((IContextChannel)office))
        {
            var outgoing = OperationContext.Current.OutgoingMessageProperties;
            var head = new HttpRequestMessageProperty();
            if (where == "head")
                head.Headers["ServiceBusAuthorization"] = token;
            else
                OperationContext.Current.OutgoingMessageHeaders.Add(new RelayToken(token));
            outgoing[HttpRequestMessageProperty.Name] = head;
            try
            {
                call();
            }
            catch (FaultException fault)
            {
                Say("fault", "reason", fault.Message);
            }
            catch (Exception error)
            {
                Say("failed", error.GetType().Name, error.Message);
            }
        }
    }

    public static void Say(string what, string name, string value)
    {
        value = value.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\r", " ").Replace("\n", " ");
        Console.WriteLine("{{\"event\": \"{0}\", \"{1}\": \"{2}\"}}", what, name, value);
        Console.Out.Flush();
    }
}
