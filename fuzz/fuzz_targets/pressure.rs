//! A pressure file: what can be read is read again as it is printed.

#![no_main]

use fuzz::{Text, check_printable};
use libfuzzer_sys::fuzz_target;
use psi::{Percent, Pressure, Stalled};
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
                let lines = [pressure.some, Some(pressure.full)];
                for stalled in lines.iter().flatten() {
                    for percent in [Some(stalled.avg10), stalled.avg60, stalled.avg300] {
                        let percent = percent.unwrap_or_default();
                        assert!(percent <= Percent::MAX);
                        assert_eq!(percent.to_string().parse(), Ok(percent));
                    }
                }
                let printed = pressure.to_string();
                check_printable(printed.replace('\n', " "));
                // A line of avg10 alone passes for one that is cut short.
                if lines.iter().flatten().all(has_more_than_avg10) {
                    assert_eq!(Pressure::parse(&printed), Ok(pressure));
                    text.set(printed.as_bytes());
                    assert_eq!(file.read().expect("it is the kernel's spelling"), pressure);
                }
            }
            Err(ReadError::Pressure { source, .. }) => check_printable(source),
            Err(err) => check_printable(err),
        }
    });
});

fn has_more_than_avg10(stalled: &Stalled) -> bool {
    stalled.avg60.is_some() || stalled.avg300.is_some() || stalled.total.is_some()
}
