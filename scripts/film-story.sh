# shellcheck shell=bash
# The story of the film; scripts/film.sh reads it and gives it scene, run,
# type_in, press, await, shows and pause.

scene "One file says what each container is, what belongs together, and how many of each."
run "sed -n '/^stacks:/,\$p' examples/lamp/lamp.yaml" 3

scene "From nothing: three machines, five LAMP stacks, two load balancers."
run "make demo" 4

scene "What runs where, and how long ago that was seen."
run "argosy ps" 3
run "argosy explain shop/balancer.2" 4

scene "Through a balancer. Each LAMP has a database of its own."
run "web=\$(address \$(on shop/balancer.1))" 1
run "for i in 1 2 3 4 5; do curl -s http://\$web/; done" 3

scene "Forty? The plan says what does not fit, and what would help. Nothing is changed."
run "argosy plan examples/lamp/lamp.yaml --set cluster.lamp=40 | tail -n 24" 5

scene "Seven do."
run "argosy scale shop/lamp=7 --wait" 3

scene "Live, with what each uses. Tab shows the machines, / filters, l jumps to logs, q leaves."
type_in "argosy top"
press Enter
await shows 'shop/lamp\.7'
pause 4
press Down
pause 0.5
press Down
pause 0.5
press Tab
pause 4
press q
await at_prompt
pause 1

scene "A machine dies. Nobody claims to know what runs there, then the balancer moves; data waits for its machine."
run "argosy ps shop/balancer" 1
run "victim=\$(on shop/balancer | grep -v m1 | tail -n 1)" 1
run "docker kill argosy-local-\$victim" 1
run "sleep 5; argosy ps" 3
run "argosy wait shop/balancer --for ready && argosy ps" 4
run "docker start argosy-local-\$victim && argosy wait shop --for ready && argosy ps" 3

scene "A Compose file comes over in a minute."
run "argosy import examples/compose/compose.yaml --app blog" 6

scene "And every trace goes."
run "KEEP_PACKAGES=1 make demo-down" 3
