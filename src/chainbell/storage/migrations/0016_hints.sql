-- Whether what a node announces (ws, zmq) is heard; null where its URL names nothing that announces.

alter table node_states add column hints_state text;
alter table node_states add column hints_since timestamptz;                    -- when it entered that state
alter table node_states add column hints_reason text;                          -- null while it is heard
alter table node_states add constraint node_states_hints check ((hints_state is null) = (hints_since is null));
