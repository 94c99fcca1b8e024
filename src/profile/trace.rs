//! A trace in the format of Chrome's trace viewer, which Perfetto opens: complete events (`X`), nested on a thread by
//! their times. "Trace Event Format", Google, 2016.
use super::{Call, Profile, Step};
use serde_json::{Value, json};

/// Threads of the trace.
const OPERATIONS: u32 = 1;
const LAUNCHES: u32 = 2;

/// The steps one after the other: step, phase, block and operation as nested ranges, and on a GPU the launches on a
/// thread of their own. `settings` is told beside them.
pub fn trace(profile: &Profile, settings: &Value) -> Value {
    let mut events = vec![
        json!({"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": "rewarm profile"}}),
        json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": OPERATIONS, "args": {"name": "operations"}}),
    ];
    if profile.steps.iter().any(|s| !s.launches.is_empty()) {
        let name = json!({"name": "launches"});
        events.push(json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": LAUNCHES, "args": name}));
    }
    let mut start = 0.0;
    for (i, step) in profile.steps.iter().enumerate() {
        of_step(step, &format!("step {i}"), start, &mut events);
        start += step.seconds;
    }
    json!({"traceEvents": events, "displayTimeUnit": "ms", "otherData": settings})
}

fn of_step(step: &Step, name: &str, start: f64, events: &mut Vec<Value>) {
    let at = |time: [f64; 2]| time.map(|seconds| start + seconds);
    events.push(event(name, "step", OPERATIONS, at([0.0, step.seconds]), Value::Null));
    for phase in step.calls.chunk_by(|a, b| a.phase == b.phase) {
        let (name, time) = (phase[0].phase.as_ref(), at(around(phase)));
        events.push(event(name, "phase", OPERATIONS, time, Value::Null));
        for block in phase.chunk_by(|a, b| a.layer == b.layer) {
            if let Some(layer) = block[0].layer {
                let name = format!("layer {layer}");
                events.push(event(&name, "layer", OPERATIONS, at(around(block)), Value::Null));
            }
            for call in block {
                let args = json!({"bytes": call.cost.bytes, "flops": call.cost.flops});
                events.push(event(&call.label(), "operation", OPERATIONS, at(call.time), args));
            }
        }
    }
    for (name, time) in &step.launches {
        events.push(event(name, "launch", LAUNCHES, at(*time), Value::Null));
    }
}

/// From the first call to the last.
fn around(calls: &[Call]) -> [f64; 2] {
    [calls[0].time[0], calls[calls.len() - 1].time[1]]
}

/// Microseconds, rounded to nanoseconds so that what begins and ends together still does.
fn event(name: &str, category: &str, thread: u32, time: [f64; 2], args: Value) -> Value {
    let [from, to] = time.map(|seconds| (seconds * 1e9).round());
    let mut event = json!({
        "name": name, "cat": category, "ph": "X", "pid": 1, "tid": thread, "ts": from / 1e3, "dur": (to - from) / 1e3,
    });
    if !args.is_null() {
        event["args"] = args;
    }
    event
}
