-- How the nodes of each chain fare, as told by the process that follows it (before the first start: by who tries to).

-- No foreign key to chains: a chain that was never started, because none of its nodes can be read, has its reasons here.
create table node_states (
    chain text not null,
    position integer not null check (position >= 1), -- in the setting: the order of preference
    name text not null,                              -- the URL without secrets
    state text not null,
    reason text,                                     -- why it is not used; null while nothing is wrong
    since timestamptz not null,                      -- when it entered its state
    tip_height bigint,                               -- the newest block that it showed
    tip_at timestamptz,                              -- when that was mined, by its own word
    last_failure text,                               -- what was last wrong with it, also when it is well again
    failed_at timestamptz,
    reported_by text not null,
    reported_at timestamptz not null,                -- not older than some seconds while somebody follows the chain
    primary key (chain, position),
    check ((tip_height is null) = (tip_at is null)),
    check ((last_failure is null) = (failed_at is null))
);
