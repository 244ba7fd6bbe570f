// A WCF service and a WCF client on NetTcpBinding, as Mono has them: a second implementation of the framing.
//
//   Peer.exe serve URL NAME [ADDRESS]   listens at URL for messages to ADDRESS, until its input ends
//   Peer.exe call URL [ADDRESS]         connects to URL for one session of several calls to ADDRESS
//
// ADDRESS is URL if it is left out.
//
// Both write a JSON line for everything that happens.

using System;
using System.ServiceModel;

[ServiceContract(Namespace = "urn:fanway:calculator")]
public interface ICalculator
{
    [OperationContract]
    int Add(int a, int b);

    [OperationContract]
    string Echo(string text);

    [OperationContract]
    string Name();
}

public class Calculator : ICalculator
{
    public static string Own = "";

    public int Add(int a, int b) { return a + b; }

    public string Echo(string text) { return text; }

    public string Name() { return Own; }
}

public static class Peer
{
    const int Most = 64 << 20;

    static NetTcpBinding Binding()
    {
        var binding = new NetTcpBinding(SecurityMode.None);
        binding.MaxReceivedMessageSize = Most;
        binding.ReaderQuotas.MaxStringContentLength = Most;
        return binding;
    }

    public static int Main(string[] args)
    {
        string last = args[args.Length - 1];
        if (args[0] == "serve")
            return Serve(args[1], args[2], args.Length > 3 ? last : args[1]);
        return Call(args[1], last);
    }

    static int Serve(string url, string name, string address)
    {
        Calculator.Own = name;
        var host = new ServiceHost(typeof(Calculator));
        host.AddServiceEndpoint(typeof(ICalculator), Binding(), address, new Uri(url));
        host.Open();
        Say("ready", "url", url);
        Console.In.ReadToEnd();
        return 0;
    }

    static int Call(string url, string address)
    {
        var factory = new ChannelFactory<ICalculator>(Binding());
        var calculator = factory.CreateChannel(new EndpointAddress(address), new Uri(url));
        try
        {
            Say("name", "name", calculator.Name());
            Say("sum", "sum", calculator.Add(40, 2).ToString());
            foreach (int size in new[] { 1, 1000, 1 << 20 })
            {
                var text = new string('x', size - 1) + "y";
                Say("echo", size.ToString(), calculator.Echo(text) == text ? "same" : "another");
            }
            ((IClientChannel)calculator).Close();
            Say("closed", "by", "both");
        }
        catch (Exception error)
        {
            Say("failed", error.GetType().Name, error.Message);
        }
        return 0;
    }

    static void Say(string what, string name, string value)
    {
        value = value.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\r", " ").Replace("\n", " ");
        Console.WriteLine("{{\"event\": \"{0}\", \"{1}\": \"{2}\"}}", what, name, value);
        Console.Out.Flush();
    }
}
