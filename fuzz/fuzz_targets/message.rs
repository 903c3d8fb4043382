//! What is said on the control socket: what can be read is what would be
//! written.

#![no_main]

use control::{MESSAGE_BYTES, Reply, Request};
use fuzz::check_printable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    match Request::decode(message) {
        Ok(request) => assert_eq!(request.encode().as_bytes(), message),
        Err(err) => check_printable(err),
    }
    match Reply::decode(message) {
        Ok(reply) => {
            assert!(message.len() <= MESSAGE_BYTES);
            assert_eq!(reply.encode().as_bytes(), message);
            check_printable(reply);
        }
        Err(err) => check_printable(err),
    }
});
