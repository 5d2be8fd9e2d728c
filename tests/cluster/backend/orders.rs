//! What the applications in the pods tell of themselves, beside what their proxies count.

use std::fmt::Write as _;

use crate::world::{Orders, Pod, World};

/// The metrics of all pods, as Prometheus would have them from each.
pub(crate) fn exposition(world: &World) -> String {
    let mut counted = String::from("# TYPE orders_total counter\n");
    let mut waiting = String::from("# TYPE order_queue_length gauge\n");
    for (pod, orders) in world.orders() {
        let labels = labels(&pod);
        let Orders { placed, lost, .. } = orders;
        for (result, count) in [("placed", placed), ("lost", lost)] {
            writeln!(
                counted,
                "orders_total{{{labels},result=\"{result}\"}} {count}"
            )
            .expect("a text takes any line");
        }
        let length = orders.waiting;
        writeln!(waiting, "order_queue_length{{{labels}}} {length}")
            .expect("a text takes any line");
    }
    counted + &waiting
}

fn labels(pod: &Pod) -> String {
    let Pod {
        namespace,
        name,
        workload,
        ..
    } = pod;
    format!("namespace=\"{namespace}\",pod=\"{name}\",workload=\"{workload}\"")
}
