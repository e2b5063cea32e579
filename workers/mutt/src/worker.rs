//! What every role shares as a process: its name, its signals, its threads.
