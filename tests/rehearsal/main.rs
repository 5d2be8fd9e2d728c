//! Rehearsals: plans played against imagined canaries, and pasts judged again.

mod simulate;
