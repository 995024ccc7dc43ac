# What Vivado's commands answer, as far as a script looks at it. The test sets arrays in the namespace `stub`: `pins` and
# `buses`, what each IP has of them; `is`, what properties are, by their names and perhaps those of runs, and in small
# letters the IP that is missing, whether there are files of boards, in what folder the design is described.

array set ::stub::ip {}

proc ::answer::get_ipdefs {pattern} {
    if {[string match *:$::stub::is(missing):* $pattern]} {return ""}
    return [expr {[string match *:\\* $pattern] ? "[string range $pattern 0 end-1]2.0 [string range $pattern 0 end-1]10.0" : $pattern}]
}
proc ::answer::get_board_parts {args} {
    set pattern [lindex $args end]
    return [expr {$::stub::is(boards) ? "[string range $pattern 0 end-1]1.9 [string range $pattern 0 end-1]1.10" : ""}]
}
proc ::answer::create_project {name folder args} {
    file mkdir $folder
    set ::stub::folder $folder
    set ::stub::name $name
}
proc ::answer::create_bd_cell {args} {
    set ::stub::ip([lindex $args end]) [lindex [split [dict get [lrange $args 0 end-1] -vlnv] :] 2]
    return /[lindex $args end]
}
foreach {command table} {get_bd_pins pins get_bd_intf_pins buses} {
    proc ::answer::$command {args} [string map [list TABLE $table] {
        lassign [split [lindex $args end] /] cell pin
        if {[info exists ::stub::ip($cell)] && $pin in $::stub::TABLE($::stub::ip($cell))} {
            return /$cell/$pin
        }
        return ""
    }]
}
foreach command {get_bd_cells get_files get_runs get_bd_addr_spaces get_bd_addr_segs current_project current_fileset} {
    proc ::answer::$command {args} [string map [list COMMAND $command] {
        return [expr {[info exists ::stub::is(COMMAND)] ? $::stub::is(COMMAND) : "COMMAND:[lindex $args end]"}]
    }]
}
proc ::answer::make_wrapper {args} {
    return wrapper.v
}
proc ::answer::generate_target {args} {
    if {$::stub::is(described) ne ""} {
        set folder [file join $::stub::folder $::stub::name.$::stub::is(described) sources_1 bd system hw_handoff]
        file mkdir $folder
        close [open [file join $folder system.hwh] w]
    }
}
proc ::answer::launch_runs {run args} {
    set folder [file join $::stub::folder $::stub::name.runs $run]
    file mkdir $folder
    if {"write_bitstream" in $args} {
        close [open [file join $folder system_wrapper.bit] w]
    }
}
proc ::answer::get_property {property object} {
    set run [string range $object [string length get_runs:] end]
    if {$property eq "DIRECTORY"} {
        return [file join $::stub::folder $::stub::name.runs $run]
    }
    return [expr {[info exists ::stub::is($property,$run)] ? $::stub::is($property,$run) : $::stub::is($property)}]
}
proc ::answer::write_hw_platform {args} {
    close [open [lindex $args end] w]
}
