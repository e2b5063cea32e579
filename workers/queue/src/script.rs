//! Lua scripts, sent by their hash.

use std::sync::OnceLock;

use redis::{Cmd, ToRedisArgs};

/// A Lua script kept in a file of its own. Every key it touches is given in KEYS.
#[derive(Debug)]
pub struct Script {
    code: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    /// For a `static`: `static TAKE: Script = Script::new(include_str!("lua/take.lua"));`
    pub const fn new(code: &'static str) -> Self {
        Self { code, hash: OnceLock::new() }
    }

    /// The SHA-1 by which Redis knows the script.
    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(self.code).get_hash().to_owned())
    }

    /// Begins a call; arguments follow with [`Call::arg`].
    pub fn call(&'static self, keys: &[&str]) -> Call {
        self.call_sized(keys, 0, 0)
    }

    /// The same with room for `args` arguments of `bytes` bytes in total.
    pub fn call_sized(&'static self, keys: &[&str], args: usize, bytes: usize) -> Call {
        let mut command = Cmd::with_capacity(keys.len() + args + 3, bytes + 64 * (keys.len() + 1));
        command.arg("EVALSHA").arg(self.hash()).arg(keys.len());
        for key in keys {
            command.arg(*key);
        }
        Call { script: self, command }
    }

    pub(crate) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.code);
        command
    }
}

/// One call of a script, to be given to [`crate::Redis::run`].
pub struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Call {
    /// Adds one argument (ARGV).
    pub fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn command(&self) -> &Cmd {
        &self.command
    }

    pub(crate) fn load(&self) -> Cmd {
        self.script.load()
    }
}
