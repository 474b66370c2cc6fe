//! The root file system of the virtual machine: this build's programs, nginx, busybox, and the
//! libraries they are linked with.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;

use super::{
    Binaries, Row, Tests,
    arch::Arch,
    kernel,
    kernel::Kernel,
    results::{HUNG, MARK},
};
use crate::command::{output_of, run};

/// Programs of this machine that the tests run; busybox has none like them.
const PROGRAMS: &[&str] = &["nginx", "openssl", "setpriv", "ip", "bash", "caddy"];

/// Debian's packages with the same programs, for a foreign instruction set, and a release whose
/// libraries what is cross-compiled here fits.
const PACKAGES: &[&str] =
    &["nginx", "openssl", "util-linux", "iproute2", "bash", "busybox-static", "caddy"];
const PACKAGES_OF: &str = "bookworm";

/// What nobody reads in the virtual machine.
const NEEDLESS: &[&str] =
    &["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl", "usr/lib/*/perl*"];

/// Files that libraries read.
const FILES: &[&str] = &["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf"];

/// Kernel modules that are not built in, in the order in which they load.
const MODULES: &[&str] =
    &["kernel/net/ipv4/inet_diag", "kernel/net/ipv4/tcp_diag", "kernel/drivers/net/veth"];

/// After how long without a word of the tests they count as hung. Each takes less than a minute, and
/// a few where others have the processors.
const QUIET: Duration = Duration::from_mins(4);

/// What the tests said, in the virtual machine.
const SAID: &str = "/tmp/said";

/// What is the same for every kernel. The folder goes when this does.
pub struct Image {
    dir: PathBuf,
    arch: Arch,
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("remove {} by hand: {error}", self.dir.display());
        }
    }
}

impl Image {
    /// Collects the programs and their libraries.
    ///
    /// # Errors
    /// When a program is missing.
    pub fn of(arch: Arch, binaries: &Binaries, cache: &Path) -> anyhow::Result<Self> {
        let name = format!("hopsight-vm-{}-{}", arch.debian(), std::process::id());
        let image = Self { dir: env::temp_dir().join(name), arch };
        let root = image.root();
        for folder in ["proc", "sys", "dev", "tmp", "run", "bin", "sbin", "usr/bin", "modules"] {
            fs::create_dir_all(root.join(folder)).with_context(|| format!("create {folder}"))?;
        }
        image.add_stripped(&binaries.agent, "hopsight")?;
        for (name, path) in &binaries.tests {
            image.add_stripped(path, name)?;
        }
        for path in FILES.iter().filter(|path| Path::new(path).exists()) {
            image.add(Path::new(path), path)?;
        }
        match arch {
            Arch::X86_64 => image.add_programs_of_this_machine(binaries)?,
            Arch::Aarch64 => {
                let programs = kernel::fetch_programs(PACKAGES_OF, arch, cache, PACKAGES)?;
                image.add_unpacked(&programs)?;
            }
        }
        Ok(image)
    }

    fn add_programs_of_this_machine(&self, binaries: &Binaries) -> anyhow::Result<()> {
        self.add(&find("busybox")?, "bin/busybox")?;
        let mut libraries = BTreeSet::new();
        for program in PROGRAMS {
            let path = find(program)?;
            // Where it is here: nginx's own path is part of the tests.
            self.add(&path, path.to_str().context("read a path")?)?;
            libraries.extend(libraries_of(&path)?);
        }
        for path in binaries.tests.iter().map(|(_, path)| path).chain([&binaries.agent]) {
            libraries.extend(libraries_of(path)?);
        }
        libraries.iter().try_for_each(|path| self.add(Path::new(path), path))
    }

    /// (`cp` keeps links.)
    fn add_unpacked(&self, programs: &Path) -> anyhow::Result<()> {
        let needless = NEEDLESS.join(" ");
        let copy = format!("cp -a '{}'/. . && rm -rf {needless}", programs.display());
        run(Command::new("sh").args(["-c", &copy]).current_dir(self.root()))
    }

    /// The archive for this kernel and row.
    ///
    /// # Errors
    /// When a module is missing or the archive cannot be written.
    pub fn pack(&self, kernel: &Kernel, row: &Row, tests: Tests) -> anyhow::Result<PathBuf> {
        let root = self.root();
        for module in MODULES {
            let name = Path::new(module).file_name().context("name a module")?;
            let to = root.join("modules").join(name).with_extension("ko");
            unpack_module(&kernel.modules.join(module), &to)?;
        }
        let init = root.join("init");
        fs::write(&init, script(row, tests)).context("write init")?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("write init")?;
        let archive = self.dir.join(format!("initramfs-{}", row.name));
        let pack = format!("find . | cpio --quiet -o -H newc > '{}'", archive.display());
        run(Command::new("sh").args(["-c", &pack]).current_dir(&root))?;
        Ok(archive)
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn add(&self, from: &Path, to: &str) -> anyhow::Result<()> {
        let to = self.root().join(to.trim_start_matches('/'));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
        Ok(())
    }

    fn add_stripped(&self, from: &Path, to: &str) -> anyhow::Result<()> {
        let to = self.root().join(to);
        run(Command::new(self.arch.strip()).arg("-o").arg(to).arg(from))
    }
}

/// Where a program is.
fn find(program: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("find {program}: `cargo xtask setup` installs it"))
}

/// Paths of the shared libraries of a program, its loader among them, as the loader resolves them.
fn libraries_of(program: &Path) -> anyhow::Result<Vec<String>> {
    let text = output_of(Command::new("ldd").arg(program))?;
    let path =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    Ok(text.lines().filter_map(path).collect())
}

/// Modules are compressed since 6.12.
fn unpack_module(from: &Path, to: &Path) -> anyhow::Result<()> {
    let plain = from.with_extension("ko");
    let compressed = from.with_extension("ko.xz");
    if plain.exists() {
        fs::copy(&plain, to).with_context(|| format!("copy {}", plain.display()))?;
        return Ok(());
    }
    anyhow::ensure!(compressed.exists(), "the kernel has no module {}", plain.display());
    let unpacked = fs::File::create(to).with_context(|| format!("create {}", to.display()))?;
    run(Command::new("xz").arg("-dc").arg(&compressed).stdout(unpacked))
}

/// What runs as the first process.
fn script(row: &Row, tests: Tests) -> String {
    let mut script = String::from(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /bin\n\
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp HOPSIGHT_BIN=/hopsight HOPSIGHT_VM=1 NO_COLOR=1\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sysfs /sys\n\
         mount -t securityfs securityfs /sys/kernel/security\n\
         mount -t devtmpfs devtmpfs /dev\n\
         mount -t tmpfs tmpfs /tmp\n\
         mount -t tmpfs tmpfs /run\n\
         mkdir -p /run/netns /var\n\
         [ -e /var/run ] || ln -s /run /var/run\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         mount -t tracefs tracefs /sys/kernel/tracing\n\
         ip link set lo up\n\
         echo 1 > /proc/sys/kernel/printk\n",
    );
    for module in MODULES {
        let name = module.rsplit('/').next().unwrap_or_default();
        script += &format!("insmod /modules/{name}.ko\n");
    }
    if row.without_btf {
        script += "mount -t tmpfs tmpfs /sys/kernel/btf\n";
    }
    script += &watchdog();
    script += &format!("echo '{MARK} check'\n/hopsight check 2>&1\n");
    for (name, tests) in tests {
        let exact = if tests.is_empty() { "" } else { "--exact" };
        let tests = tests.join(" ");
        script += &format!(
            "echo '{MARK} {name}'\n/{name} --test-threads=1 --show-output --include-ignored {exact} {tests} 2>&1 | tee -a {SAID}\n"
        );
    }
    script += &format!("echo '{MARK} done'\nsync\npoweroff -f\n");
    script
}

/// Tells, once the tests have said nothing for a while, where every thread of theirs waits, in the
/// program (`syscall`) and in the kernel (`stack`), and what runs on each processor (SysRq `l`), and
/// powers off.
fn watchdog() -> String {
    let seconds = QUIET.as_secs();
    format!(
        "(\n\
         touch {SAID}\n\
         until [ \"$before\" = \"$(stat -c %s {SAID})\" ]; do\n\
         before=$(stat -c %s {SAID})\n\
         sleep {seconds}\n\
         done\n\
         echo '{MARK} {HUNG}'\n\
         echo 8 > /proc/sys/kernel/printk\n\
         echo l > /proc/sysrq-trigger\n\
         sleep 5\n\
         for task in /proc/[0-9]*/task/*; do\n\
         grep -q . \"${{task%/task/*}}/cmdline\" || continue\n\
         echo \"$task $(cat $task/comm): $(grep State $task/status) $(cat $task/syscall)\"\n\
         cat $task/stack\n\
         done\n\
         poweroff -f\n\
         ) 2>&1 &\n"
    )
}
