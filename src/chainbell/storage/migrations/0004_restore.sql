-- Restores, reorgs deeper than the limit, and pruning: what an operator does to a database, and what it must remember of it.

-- Which database this is, the same in every backup of it, also in those made before this migration.
alter table installation add column id uuid;
update installation set id = (select id from accounts where is_default and mode = 'live');
alter table installation alter column id set not null;

-- The lives of this database: each restore from a backup begins another. A cursor of an earlier one is ours up to where the
-- next began.
create table generations (
    generation integer primary key,
    began_behind bigint not null,                    -- position of the newest event when it began
    began_at timestamptz not null,
    backup_reach timestamptz                         -- newest moment that the backup knew of; null: not from a backup
);
insert into generations (generation, began_behind, began_at) select generation, 0, now() from installation;

-- What operators did.
create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    actor text not null,                             -- user and machine
    action text not null,
    details jsonb not null
);
create index audit_newest on audit (at, id);

-- How often the events that were pruned told the same on the same occasion: ids go on from there.
create table pruned_tellings (
    resource_id text not null,
    type text not null,
    occasion bytea not null,
    times integer not null,
    primary key (resource_id, type, occasion)
);

create index blocks_orphaned on blocks (orphaned_at) where orphaned_at is not null;
