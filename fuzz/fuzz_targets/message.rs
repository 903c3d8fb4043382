//! What is said on the control socket: what can be read is read alike once it is
//! written again.

#![no_main]

use control::{Call, MESSAGE_BYTES, Reply, Request};
use fuzz::check_printable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    match Call::decode(message) {
        Ok(call) => {
            assert!(message.len() < MESSAGE_BYTES);
            let again = Call::decode(without_end(&call.request.encode())).expect("it is ours");
            assert_eq!(again.request, call.request);
        }
        Err(denial) => check_printable(denial),
    }
    for request in [
        Request::Relief,
        Request::Status,
        Request::Fate { pid: 1 },
        Request::Info,
    ] {
        match Reply::decode(&request, message) {
            Ok(reply) => {
                let written = reply.encode();
                let again = Reply::decode(&request, without_end(&written)).expect("it is ours");
                assert_eq!(again, reply);
            }
            Err(err) => check_printable(err),
        }
    }
});

fn without_end(message: &[u8]) -> &[u8] {
    message.strip_suffix(&[0]).expect("a message has an end")
}
