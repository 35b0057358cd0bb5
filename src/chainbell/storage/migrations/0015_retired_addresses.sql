-- Handed out, or removed, in a life that a backup did not know of: no window of a key watches them or hands them out again.
create table retired_addresses (
    chain text not null,
    address bytea not null,
    primary key (chain, address)
);
