package manifest

// refusedKeys are the service keys of the Compose Specification that Argosy does not honour.
func refusedKeys() []ckey {
	no := func(name, why, instead string) ckey { return refuse[*container](name, why, instead) }
	const (
		leave     = "leave it out"
		namespace = "it would open the container to the machine or to others"
		windows   = "it is for Windows"
	)
	return []ckey{
		no("attach", "the output of every container is kept", "read what you want with `argosy logs`"),
		no("blkio_config", "machines do not share out their disks' bandwidth", leave),
		no("build", "machines run finished images", "build the image, then send it to the cluster with `argosy image load`, or push it to a registry"),
		no("cgroup", namespace, leave),
		no("cgroup_parent", "Argosy keeps containers in cgroups of its own", leave),
		no("container_name", "a replica's container is called APP/STACK.NUMBER/CONTAINER", "leave it out; hostname says what the container calls itself"),
		no("cpu_count", windows, "use cpus"),
		no("cpu_percent", windows, "use cpus"),
		no("cpu_period", "cpus says the same", "use cpus: quota divided by period"),
		no("cpu_quota", "cpus says the same", "use cpus: quota divided by period"),
		no("cpu_rt_period", "containers run without real-time scheduling", leave),
		no("cpu_rt_runtime", "containers run without real-time scheduling", leave),
		no("cpuset", "placement counts cpus and does not number them", "use cpus"),
		no("credential_spec", windows, leave),
		no("develop", "a cluster does not watch source files", leave),
		no("device_cgroup_rules", "devices of the machine are not given to containers", leave),
		no("devices", "devices of the machine are not given to containers", leave),
		no("extends", "a manifest says everything itself", "share keys with a YAML anchor: `x-base: &base {…}`, then `<<: *base`"),
		no("external_links", "containers find each other by name", "use the name CONTAINER.STACK.APP"),
		no("gpus", "devices of the machine are not given to containers", leave),
		no("ipc", namespace, "leave it out; shm_size sizes /dev/shm"),
		no("isolation", windows, leave),
		no("links", "containers find each other by name", "a sibling in the same replica is reached by its plain name; to start after it, use depends_on"),
		no("mac_address", "machines choose the addresses of containers", leave),
		no("mem_swappiness", "the kernel no longer has it for one container", "use memswap_limit"),
		no("models", "models are not run by Argosy", "run the model's server as a container"),
		no("network_mode", "every container is on the cluster's network", "publish ports of the machine with ports"),
		no("networks", "every container is on the cluster's network", leave),
		no("oom_kill_disable", "a container that cannot be killed stops its machine", "use oom_score_adj"),
		no("pid", namespace, leave),
		no("post_start", "hooks are not honoured", "run it in the image's entrypoint, or as a container that depends on this one"),
		no("pre_start", "hooks are not honoured", "run it as a container that this one depends on with condition: service_completed_successfully"),
		no("pre_stop", "hooks are not honoured", "handle stop_signal in the container"),
		no("privileged", "it gives the container the whole machine, and no policy can grant that yet", "use cap_add with what is needed"),
		no("profiles", "a manifest has no parts to switch on", "say below cluster how many of each stack there are; 0 is none"),
		no("provider", "Argosy runs containers itself", leave),
		no("pull_refresh_after", "a revision keeps the digest it was applied with", "apply again to follow a moved tag"),
		no("runtime", "machines have one runtime", leave),
		no("scale", "a container is replicated with its stack", "say it below cluster: STACK: NUMBER"),
		no("storage_opt", "the engine's storage is the machine's affair", "use a volume with a size"),
		no("umask", "the engine cannot set it", "set it in the image's entrypoint"),
		no("use_api_socket", "the engine's socket is the whole machine", leave),
		no("userns_mode", namespace, leave),
		no("uts", namespace, "leave it out; hostname is honoured"),
		no("volumes_from", "volumes belong to the stack", "name the same volume in each container's volumes"),
	}
}

// containerTable is the table of all keys of a container.
func containerTable() *object[*container] { return newObject("container", containerKeys()...) }
