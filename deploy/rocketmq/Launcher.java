import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.broker.BrokerStartup;
import org.apache.rocketmq.namesrv.NamesrvController;
import org.apache.rocketmq.namesrv.NamesrvStartup;

/** Runs a name server and a broker in one JVM: Launcher NAMESRV_CONF BROKER_CONF. Prints "ready" when topics can be routed. */
public final class Launcher {
    public static void main(String[] args) throws Exception {
        NamesrvController names = NamesrvStartup.main0(new String[] {"-c", args[0]});
        BrokerController broker = BrokerStartup.start(BrokerStartup.createBrokerController(new String[] {"-c", args[1]}));
        String name = broker.getBrokerConfig().getBrokerName();
        // The broker's first registration usually goes to an empty list of name servers, and the next comes ten seconds
        // later. "boot success" is logged all the same, so ask until the name server really knows the broker.
        while (names.getRouteInfoManager().pickupTopicRouteData(name) == null) {
            broker.registerBrokerAll(true, false, true);
            Thread.sleep(100);
        }
        System.out.println("ready");
    }
}
