//! A pressure file: what can be read is read again as it is printed.

#![no_main]

use fuzz::{Text, check_printable};
use libfuzzer_sys::fuzz_target;
use psi::{Percent, Pressure};
use sensors::{PressureFile, ReadError};

thread_local! {
    static TEXT: Text = Text::empty();
}

fuzz_target!(|bytes: &[u8]| {
    TEXT.with(|text| {
        text.set(bytes);
        let mut file = PressureFile::open(&text.path()).expect("ours");
        match file.read() {
            Ok(pressure) => {
                for stalled in [pressure.some, pressure.full] {
                    for percent in [stalled.avg10, stalled.avg60, stalled.avg300] {
                        assert!(percent <= Percent::MAX);
                        assert_eq!(percent.to_string().parse(), Ok(percent));
                    }
                }
                let printed = pressure.to_string();
                assert_eq!(Pressure::parse(&printed), Ok(pressure));
                text.set(printed.as_bytes());
                assert_eq!(file.read().expect("it is the kernel's spelling"), pressure);
            }
            Err(ReadError::Pressure { source, .. }) => check_printable(source),
            Err(err) => check_printable(err),
        }
    });
});
