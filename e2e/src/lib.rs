//! Boots real kernels in QEMU and drives the module and the programs on them.
//!
//! There are two halves. The [`host`] fetches a kernel's packages, builds the
//! module against it, packs an initramfs, boots it and believes what comes
//! over a serial port of its own. The [`guest`] is `/init` of that initramfs:
//! it runs the scenarios named on the kernel's command line and says what
//! became of each. The [`scenarios`] stand between them: the host reads the
//! table to know which machine each one wants, the guest to run it.
//!
//! Nothing here loads a module into the kernel that it is started on.

pub mod arena;
pub mod guest;
pub mod host;
pub mod scenarios;
pub mod words;
