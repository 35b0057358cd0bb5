-- Replays of many deliveries, and what lists them.

-- A replay of an endpoint's deliveries, worked off in steps. It goes through the feed by position; how far it has come is
-- written in the transaction that queues, so that whoever goes on after a crash begins where that ended.
create table replays (
    id uuid primary key default gen_random_uuid(),
    endpoint_id uuid not null references endpoints,
    what text not null check (what in ('failed', 'missing', 'range')),
    since timestamptz,                               -- only events committed at this time or later; null: all
    until timestamptz,                               -- only events committed before this time; null: all
    after_position bigint not null,                  -- where it began: behind this position of the feed
    through_position bigint not null,                -- the last position that it looks at; what came later was fanned out
    reached_position bigint not null,                -- everything up to here is done
    total bigint not null,                           -- what it has to look at, as counted when it was asked for
    checked bigint not null default 0,               -- how much of it was looked at
    queued bigint not null default 0,                -- deliveries that it queued
    stopped_reason text,                             -- why it ended early; null: it did not
    created_at timestamptz not null,
    advanced_at timestamptz not null,
    finished_at timestamptz,
    check (reached_position >= after_position and through_position >= after_position)
);
create index replays_unfinished on replays (advanced_at, id) where finished_at is null;
create index replays_newest on replays (created_at, id);
create index replays_of_endpoint on replays (endpoint_id, created_at, id);

-- Where in the feed a time is: times are those of the commits' machines, and not quite in the order of positions.
create index events_by_time on events (mode, created_at, position);
-- Listings go endpoint by endpoint. An index over all of them only tempts PostgreSQL to read what others were sent.
drop index deliveries_newest;
-- A page of what waits or was given up, also where that is rare.
create index deliveries_pending_newest on deliveries (endpoint_id, created_at, id) where status = 'pending';
create index deliveries_exhausted_newest on deliveries (endpoint_id, created_at, id) where status = 'exhausted';
