//! Closing a log from async code.

use std::future::{Future, poll_fn};

use crate::error::{Error, ErrorKind};
use crate::log::Log;
use crate::storage::waiter::Waiter;
use crate::sync::Arc;

impl Log {
    /// Closes the log as [`close`](Self::close) does, without blocking.
    ///
    /// It is begun by the call, on a thread of its own, because the log's other threads end with
    /// it; it goes on if the future is dropped.
    ///
    /// # Errors
    /// The future's, as for [`close`](Self::close); also `Io` if no thread can be started, and then
    /// the log is still open.
    ///
    /// # Examples
    /// ```
    /// # pollster::block_on(async {
    /// let log = brooklet::Log::in_memory()?;
    /// log.close_async().await?;
    /// # Ok::<(), brooklet::Error>(())
    /// # })?;
    /// # Ok::<(), brooklet::Error>(())
    /// ```
    pub fn close_async(&self) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let slot = Arc::new(Waiter::default());
        let spawn = &self.inner.store.env().spawn;
        if spawn.can_spawn() {
            let (log, filled) = (self.clone(), Arc::clone(&slot));
            let work = Box::new(move || filled.fill(log.close()));
            if let Err(error) = spawn.spawn("brooklet-closer", work) {
                let error = Error::new(ErrorKind::Io, format!("no thread to close it: {error}"));
                slot.fill(Err(error.during("close the log")));
            }
        } else {
            slot.fill(self.close());
        }
        async move { poll_fn(|context| slot.poll(context.waker())).await }
    }
}
